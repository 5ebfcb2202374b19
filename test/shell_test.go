package test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/terminal"
)

// TestShells opens shells with isolde session shell on a terminal, with the
// official SDK and by hand.
func TestShells(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		t.Run("CLI on a terminal", func(t *testing.T) { testTerminal(t, b) })
		t.Run("CLI from a pipe", func(t *testing.T) {
			cmd := command(t, b.data, "session", "shell", string(sessionNumber(1)), "--server", b.url)
			cmd.Stdin = strings.NewReader("tr a-z A-Z\nread by tr") // which gets the first end of the input
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), "READ BY TR\r\n") {
				t.Errorf("%v: %q", err, out)
			}
		})
		t.Run("official SDK", func(t *testing.T) { testSDKShell(t, b, arn) })
		t.Run("closed", func(t *testing.T) { testClosedShell(t, b, arn) })
	})
}

func testTerminal(t *testing.T, b *bed) {
	way := cuttable(t, b.url)
	s := sit(t, command(t, b.data, "session", "shell", string(sessionNumber(1)), "--shell", "mine", "--server", way.url))
	s.typed("PS1='> '; bind 'set enable-bracketed-paste off'; stty size; echo $TERM-\n")
	s.want("30 100\r\nxterm-256color-\r\n")
	s.resize <- sandbox.WindowSize{Columns: 132, Rows: 41}
	s.wantReply("stty size", "41 132\r\n")
	s.wantReply("sh -c 'echo in''side; exec sleep 983'", "inside\r\n")
	s.typed("\x03")
	s.want("^C")
	s.wantReply("echo $?-", "130-\r\n")

	// The connection breaks; the shell is the same, and shows what came meanwhile.
	s.typed("KEPT=yes; (sleep 1; echo mean''while) &\n")
	s.want("&\r\n")
	way.cut()
	s.want("connecting again")
	s.want("meanwhile\r\n")
	s.wantReply("echo $KEPT-kept", "yes-kept\r\n")

	s.typed("\x1d")
	s.wantExit(0)
	if !strings.Contains(s.shown(), "isolde session shell "+string(sessionNumber(1))+" --agent echo --shell mine") {
		t.Errorf("how to come back is not shown: %q", s.shown())
	}
	s = sit(t, command(t, b.data, "session", "shell", string(sessionNumber(1)), "--shell", "mine", "--server", b.url))
	s.wantReply("echo $KEPT-again", "yes-again\r\n")
	s.typed("exit 7\n")
	s.wantExit(7)

	s = sit(t, command(t, b.data, "session", "shell", string(sessionNumber(2)), "--server", b.url))
	s.wantReply("echo $((40 + 2))-", "42-\r\n")
	if _, err := b.client.StopSession(t.Context(), "", sessionNumber(2)); err != nil {
		t.Fatal(err)
	}
	s.want("the session ended")
	s.wantExit(8)
}

// desk is a command on a terminal, with somebody sitting at it.
type desk struct {
	t      *testing.T
	keys   *io.PipeWriter
	resize chan sandbox.WindowSize
	ended  chan struct{}
	cmd    *exec.Cmd

	mu   sync.Mutex
	text []byte
	seen int
}

func sit(t *testing.T, cmd *exec.Cmd) *desk {
	t.Helper()
	typed, keys := io.Pipe()
	s := &desk{t: t, keys: keys, resize: make(chan sandbox.WindowSize), ended: make(chan struct{}), cmd: cmd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	ready := make(chan struct{})
	close(ready)
	streams, err := terminal.Attach(cmd, sandbox.Command{
		Stdout:   s.show,
		Terminal: &sandbox.Terminal{Size: sandbox.WindowSize{Columns: 100, Rows: 30}, Input: typed, Resize: s.resize},
	}, ready)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		streams.Close()
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = streams.Wait()
		typed.Close()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.ended
	})
	return s
}

func (s *desk) show(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	return nil
}

func (s *desk) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

func (s *desk) typed(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keys, keys); err != nil {
		s.t.Fatalf("type %q: %v; shown is %q", keys, err, s.shown())
	}
}

// want waits until a text is shown after what was waited for before.
func (s *desk) want(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		at := strings.Index(string(s.text[s.seen:]), text)
		if at >= 0 {
			s.seen += at + len(text)
		}
		s.mu.Unlock()
		switch {
		case at >= 0:
			return
		case time.Now().After(deadline):
			s.t.Fatalf("%q is not shown, but %q", text, s.shown())
		}
	}
}

// wantReply types a command and waits for what it prints.
func (s *desk) wantReply(command, reply string) {
	s.t.Helper()
	s.typed(command + "\n")
	s.want(command + "\r\n")
	s.want(reply)
}

func (s *desk) wantExit(code int) {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.t.Fatalf("it does not end; shown is %q", s.shown())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, want %d; shown is %q", got, code, s.shown())
	}
}

// way is a way to a server that can be cut.
type way struct {
	url string
	mu  sync.Mutex
	all []net.Conn
}

func cuttable(t *testing.T, server string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{url: "http://" + l.Addr().String()}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.all = append(w.all, near, far)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(near, far); near.Close() }()
			go func() { _, _ = io.Copy(far, near); far.Close() }()
		}
	}()
	return w
}

// cut breaks every connection; further ones are carried.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.all {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not a proper end
		}
		c.Close()
	}
	w.all = nil
}

func shellURL(b *bed, arn string) string {
	return "ws" + strings.TrimPrefix(b.url, "http") + "/runtimes/" + strings.ReplaceAll(arn, "/", "%2F") + "/ws/shells"
}

func testSDKShell(t *testing.T, b *bed, arn string) {
	python := need.Command(t, "python3")
	const lock = "agents/vendored/requirements.txt"
	packages := installed(t, "agentcore-sdk", lock, func(dir string) *exec.Cmd {
		return exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir, "-r", lock)
	})
	cmd := exec.CommandContext(t.Context(), python, "clients/shell_client.py", shellURL(b, arn), string(sessionNumber(1)), "sdk",
		"stty size", "cd /; pwd", "echo $((6 * 7))-$PWD", "bash -c 'kill -9 $$'", "exit $?")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var got struct {
		Shown, ShellID string
		ExitCode       int
		Kicked         bool
	}
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil || got.ExitCode != 137 || got.ShellID != "sdk" || got.Kicked ||
		!strings.Contains(got.Shown, "33 101\r\n") || !strings.Contains(got.Shown, "42-/\r\n") {
		t.Errorf("%v, %+v\n%s", err, got, stderr.String())
	}
}

// testClosedShell wants all that a shell started to be gone when it is closed.
func testClosedShell(t *testing.T, b *bed, arn string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, shellURL(b, arn), &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": {string(sessionNumber(1))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow() //nolint:errcheck // it was closed
	const start = "\x00sleep 9851 & (setsid sleep 9852 &); nohup sleep 9853 >/dev/null & echo star''ted\n"
	if err := c.Write(ctx, websocket.MessageBinary, []byte(start)); err != nil {
		t.Fatal(err)
	}
	for shown := ""; !strings.Contains(shown, "started\r\n"); {
		_, message, err := c.Read(ctx)
		if err != nil {
			t.Fatalf("%v; shown is %q", err, shown)
		}
		shown += string(message[1:])
	}
	if err := c.Write(ctx, websocket.MessageBinary, []byte{0xFF}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = c.Read(ctx)
	}
	if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("closed: %v", err)
	}
	const count = `n=0; for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^sleep 985[123]' && n=$((n+1)); done; echo $n`
	left := ""
	for deadline := time.Now().Add(20 * time.Second); left != "0\n" && time.Now().Before(deadline); {
		left = b.mustIsolde("session", "exec", string(sessionNumber(1)), "--", "bash", "-c", count)
	}
	if left != "0\n" {
		t.Errorf("%q processes of a shell that was closed run on", left)
	}
}
