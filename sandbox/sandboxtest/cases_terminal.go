package sandboxtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// testTerminal has a program on a terminal tell what it sees of it.
func testTerminal(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	if _, ok := p.Sandbox.(sandbox.Execer); !ok {
		t.Log("the driver's sandboxes cannot execute commands")
		return
	}
	s := b.sit(t, p)
	s.want("sits at 91 x 17")
	s.resize <- sandbox.WindowSize{Columns: 120, Rows: 40}
	s.want("resized 120 x 40")

	s.typed("raw\n")
	s.want("reads keys")
	s.typed("\x03") // a key like any other to an editor
	s.want(`key '\x03'`)
	s.typed("\x03")
	s.want("interrupted")

	// Nobody reads for a while: the program waits, and nothing is lost.
	s.hold()
	s.typed("flood 1000000\n")
	time.Sleep(50 * time.Millisecond)
	s.release()
	s.want("flooded")
	if got := strings.Count(s.String(), "1234567\n"); got != 125000 {
		t.Errorf("%d lines of 125000 arrived", got)
	}
	s.typed("exit 11\n")
	s.wantEnd(11, nil)

	s = b.sit(t, p)
	s.want("sits at")
	s.typed("kill 9\n")
	s.wantEnd(137, nil)

	s = b.sit(t, p)
	s.want("sits at")
	during := len(p.do(t, order.Order{Do: "info"}).Info.PIDs)
	s.cancel()
	s.wantEnd(-1, context.Canceled)
	if b.driver.Capabilities().Isolated {
		if left := len(p.do(t, order.Order{Do: "info"}).Info.PIDs); left >= during {
			t.Errorf("of %d processes %d are left after the terminal's were to end", during, left)
		}
	}

	s = b.sit(t, p)
	s.want("sits at")
	p.stop(t, b, 0)
	if end := s.end(); end.err == nil && end.code == 0 {
		t.Errorf("a command whose sandbox was stopped ended in order: %+v", end)
	}
}

// sitter is who sits at the terminal of a command.
type sitter struct {
	t      *testing.T
	keys   *io.PipeWriter
	resize chan sandbox.WindowSize
	cancel context.CancelFunc
	ended  chan sitting

	output
	reading sync.Mutex // locked: what is shown is not taken
	seen    int        // bytes of the output
}

// sitting is how a command on a terminal ended.
type sitting struct {
	code int
	err  error
}

// sit starts testagent's program on a terminal of 91 x 17.
func (b *bench) sit(t *testing.T, p *peer) *sitter {
	self := agentPath
	if !b.driver.Capabilities().Isolated {
		self = "./agent"
	}
	typed, keys := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	s := &sitter{t: t, keys: keys, cancel: cancel, resize: make(chan sandbox.WindowSize), ended: make(chan sitting, 1)}
	t.Cleanup(func() { cancel(); keys.Close() })
	go func() {
		code, err := p.Sandbox.(sandbox.Execer).Exec(ctx, sandbox.Command{
			Args: []string{self, "--child", "terminal"}, Stdout: s.show,
			Terminal: &sandbox.Terminal{Size: sandbox.WindowSize{Columns: 91, Rows: 17}, Input: typed, Resize: s.resize},
		})
		typed.Close()
		s.ended <- sitting{code, err}
	}()
	return s
}

func (s *sitter) show(p []byte) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.write(p)
}

func (s *sitter) hold()    { s.reading.Lock() }
func (s *sitter) release() { s.reading.Unlock() }

func (s *sitter) typed(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keys, keys); err != nil {
		s.t.Fatalf("type %q: %v", keys, err)
	}
}

// want waits until a text is shown after what was waited for before.
func (s *sitter) want(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		shown := string(s.data[s.seen:])
		at := strings.Index(shown, text)
		if at >= 0 {
			s.seen += at + len(text)
		}
		s.mu.Unlock()
		switch {
		case at >= 0:
			return
		case time.Now().After(deadline):
			s.t.Fatalf("%q is not shown, but %.300q", text, shown)
		}
		select {
		case end := <-s.ended:
			s.t.Fatalf("it ended with %d, %v; shown is %.300q, not %q", end.code, end.err, shown, text)
		default:
		}
	}
}

func (s *sitter) end() sitting {
	s.t.Helper()
	select {
	case end := <-s.ended:
		return end
	case <-time.After(patience):
		s.t.Fatal("the command on the terminal does not end")
		return sitting{}
	}
}

func (s *sitter) wantEnd(code int, cause error) {
	s.t.Helper()
	if end := s.end(); end.code != code || !errors.Is(end.err, cause) {
		s.t.Errorf("it ended with %d, %v; want %d, %v\nshown is %.300q", end.code, end.err, code, cause, s.String())
	}
}
