package session

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/shell"
)

// claim claims a shell of the session.
func (b *bed) claim(id shell.ID) *ShellClaim {
	b.t.Helper()
	l := b.acquire(key)
	c, err := l.Shell(id)
	if err != nil {
		l.Release()
		b.t.Fatalf("claim %s: %v", id, err)
	}
	return c
}

func (b *bed) typed(h *ShellHold, text string) {
	b.t.Helper()
	if err := h.Type(b.t.Context(), []byte(text)); err != nil {
		b.t.Fatalf("type %q: %v", text, err)
	}
}

// wantShown reads until a text is the end of what is shown.
func (b *bed) wantShown(h *ShellHold, text string) {
	b.t.Helper()
	var shown strings.Builder
	for !strings.HasSuffix(shown.String(), text) {
		p := make([]byte, 100)
		n, err := h.Output(b.t.Context(), p)
		if err != nil {
			b.t.Fatalf("%v instead of %q; shown is %.300q", err, text, shown.String())
		}
		h.Sent(n)
		shown.Write(p[:n])
	}
}

func (b *bed) wantExit(h *ShellHold, want int) {
	b.t.Helper()
	if n, err := h.Output(b.t.Context(), make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		b.t.Errorf("output %d, %v, want the end", n, err)
	}
	if code, err := h.Exit(); code != want || err != nil {
		b.t.Errorf("exit %d, %v; want %d", code, err, want)
	}
}

// locked looks at the session's shells.
func locked[T any](h *ShellHold, look func() T) T {
	h.shell.s.shells.mu.Lock()
	defer h.shell.s.shells.mu.Unlock()
	return look()
}

func shellScript() sandboxtest.Script { return sandboxtest.Script{Exec: sandboxtest.Shell} }

func TestShellOutlivesItsConnection(t *testing.T) {
	inBubble(t, shellScript(), func(t *testing.T, b *bed) {
		h := b.claim("sh").Attach()
		if h.Reconnected || h.Dropped != 0 || h.ID() != "sh" {
			t.Errorf("a new shell: %+v", h)
		}
		b.wantShown(h, "80 x 24\n")
		b.typed(h, "echo early\n")
		b.wantShown(h, "early\n")
		b.typed(h, "echo later\n")
		synctest.Wait()
		h.Detach()
		h.Detach()

		time.Sleep(DetachedShell - time.Second)
		h = b.claim("sh").Attach()
		if !h.Reconnected || h.Dropped != 0 {
			t.Errorf("the shell again: reconnected %v, %d bytes dropped", h.Reconnected, h.Dropped)
		}
		b.wantShown(h, "later\n")
		if err := h.Resize(t.Context(), sandbox.WindowSize{Columns: 100, Rows: 30}); err != nil {
			t.Error(err)
		}
		b.wantShown(h, "100 x 30\n")

		// What comes while nobody is there is kept up to a bound.
		b.typed(h, "flood 1000000\necho end\n")
		synctest.Wait() // the shell waits for who sits at it
		if n := locked(h, func() int { return len(h.shell.output) }); n != ShellBuffer {
			t.Errorf("%d bytes are kept for a connection", n)
		}
		h.Detach()
		synctest.Wait()
		h = b.claim("sh").Attach()
		if want := int64(1000000 + len("end\n") - ShellBuffer); h.Dropped != want {
			t.Errorf("%d bytes dropped, want %d", h.Dropped, want)
		}
		b.wantShown(h, "xend\n")

		// How it ended is there for who comes back.
		b.typed(h, "echo bye\nexit 7\n")
		synctest.Wait()
		h.Detach()
		h = b.claim("sh").Attach()
		b.wantShown(h, "bye\n")
		b.wantExit(h, 7)
		h.End()
		h.Detach()
		h = b.claim("sh").Attach()
		if h.Reconnected {
			t.Error("a shell that ended is there again")
		}
		h.Detach()

		time.Sleep(DetachedShell + time.Second)
		if n := locked(h, func() int { return len(h.shell.s.shells.all) }); n != 0 {
			t.Errorf("%d shells are left", n)
		}
	})
}

func TestShellHasOneConnection(t *testing.T) {
	inBubble(t, shellScript(), func(t *testing.T, b *bed) {
		first := b.claim("sh").Attach()
		b.wantShown(first, "80 x 24\n")
		claim := b.claim("sh")
		l := b.acquire(key)
		if _, err := l.Shell("sh"); isolde.CodeOf(err) != isolde.CodeConflict {
			t.Errorf("claimed twice: %v", err)
		}
		l.Release()
		claim.Release() // its handshake failed
		if first.Context().Err() != nil {
			t.Error("a claim that was released took the shell away")
		}
		b.typed(first, "echo one\n")
		synctest.Wait()
		second := b.claim("sh").Attach()
		if _, err := first.Output(t.Context(), make([]byte, 10)); !errors.Is(err, ErrShellReplaced) {
			t.Errorf("output of a connection that was replaced: %v", err)
		}
		if err := first.Type(t.Context(), []byte("echo wrong\n")); err != nil && !errors.Is(err, ErrShellReplaced) {
			t.Error(err)
		}
		first.Sent(1) // too late
		first.End()
		first.Detach()
		b.wantShown(second, "one\n")
		second.End()
		second.Detach()
		synctest.Wait()
		if !locked(second, func() bool { return second.shell.ended }) {
			t.Error("a shell that was closed runs on")
		}
	})
}

func TestShellsAreBounded(t *testing.T) {
	inBubble(t, shellScript(), func(t *testing.T, b *bed) {
		ids := []shell.ID{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
		open := func(id shell.ID, want isolde.Code) (h *ShellHold) {
			t.Helper()
			l := b.acquire(key)
			c, err := l.Shell(id)
			if isolde.CodeOf(err) != want {
				t.Errorf("shell %s: %v, want %s", id, err, want)
			}
			if err != nil {
				l.Release()
				return nil
			}
			return c.Attach()
		}
		var holds []*ShellHold
		for _, id := range ids {
			holds = append(holds, open(id, ""))
		}
		open("k", isolde.CodeQuota)
		holds[0] = open("a", "") // replaces its own
		for _, h := range holds {
			h.Detach()
		}
		open("k", isolde.CodeQuota)
		h := open("a", "")
		h.End()
		h.Detach()
		open("k", "").Detach()
	})
}

func TestShellKeepsASessionOnlyByWhatPasses(t *testing.T) {
	inBubble(t, shellScript(), func(t *testing.T, b *bed) {
		b.launch.Lifecycle.IdleTimeout = isolde.Seconds(60)
		h := b.claim("sh").Attach()
		b.wantShown(h, "80 x 24\n")
		for range 5 {
			time.Sleep(50 * time.Second)
			b.typed(h, "echo x\n")
			b.wantShown(h, "x\n")
		}
		b.wantState(isolde.SessionActive)
		time.Sleep(time.Minute + 3*time.Second)
		b.wantEnded("was idle for 1m0s")
		if _, err := h.Output(t.Context(), make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("output of a session that ended: %v", err)
		}
		if reason, _ := h.Ended(); reason != "the session ended: it was idle for 1m0s" {
			t.Errorf("ended %q", reason)
		}
		h.Detach()
	})
}

// TestShellsGoWithTheServer wants their processes to be gone when Close is
// over, whoever is connected.
func TestShellsGoWithTheServer(t *testing.T) {
	inBubble(t, shellScript(), func(t *testing.T, b *bed) {
		h, away := b.claim("sh").Attach(), b.claim("away").Attach()
		b.wantShown(h, "80 x 24\n")
		away.Detach()
		drained := make(chan error)
		go func() { drained <- b.m.Drain(context.Background()) }()
		<-h.Context().Done()
		if _, err := h.Output(t.Context(), make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("output while the server drains: %v", err)
		}
		h.Detach()
		if err := <-drained; err != nil {
			t.Error(err)
		}
		b.m.Close()
		if !locked(h, func() bool { return h.shell.ended && away.shell.ended }) {
			t.Error("a shell outlived the server")
		}
	})
}

func TestNoShells(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		l := b.acquire(key)
		defer l.Release()
		if _, err := l.Shell("sh"); isolde.CodeOf(err) != isolde.CodeUnsupported {
			t.Errorf("a driver without commands: %v", err)
		}
	})
	script := sandboxtest.Script{Exec: func(context.Context, sandbox.Command) (int, error) { return -1, sandbox.ErrNotExecutable }}
	inBubble(t, script, func(t *testing.T, b *bed) {
		h := b.claim("sh").Attach()
		defer h.Detach()
		if _, err := h.Output(t.Context(), make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if _, err := h.Exit(); isolde.CodeOf(err) != isolde.CodeAgent || !strings.Contains(err.Error(), "neither bash nor sh") {
			t.Errorf("an image without a shell: %v", err)
		}
	})
}
