package session

import (
	"context"
	"errors"
	"io"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/shell"
)

// ErrShellReplaced is that another connection has taken over the shell.
var ErrShellReplaced = errors.New("another connection took over the shell")

// ShellHold is a connection's hold on a shell. Methods are safe for concurrent
// use, but only one goroutine takes output.
type ShellHold struct {
	*Attachment
	// Reconnected is that the shell was there before. Dropped is how many bytes
	// of what it showed since then are lost.
	Reconnected bool
	Dropped     int64

	shell  *terminalShell
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// ID names the shell.
func (h *ShellHold) ID() shell.ID { return h.shell.id }

// Context ends with ErrShellReplaced when another connection has the shell,
// and as the attachment's.
func (h *ShellHold) Context() context.Context { return h.ctx }

// Output waits for what the shell shows and copies it to p. What was not Sent
// comes again, also to the next connection. The error is ctx's cause, io.EOF
// when the shell has ended and all was sent, or that of Context.
func (h *ShellHold) Output(ctx context.Context, p []byte) (int, error) {
	sh, all := h.shell, &h.shell.s.shells
	for {
		all.mu.Lock()
		n, ended, change := 0, sh.ended, sh.change
		if h.ctx.Err() == nil {
			n = copy(p, sh.output)
		}
		all.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case h.ctx.Err() != nil:
			return 0, context.Cause(h.ctx)
		case n > 0:
			return n, nil
		case ended && !sh.s.over():
			return 0, io.EOF
		}
		select {
		case <-change:
		case <-ctx.Done():
		case <-h.ctx.Done():
		}
	}
}

// Sent is that the first n bytes of the output are with the client.
func (h *ShellHold) Sent(n int) {
	h.Touch()
	sh, all := h.shell, &h.shell.s.shells
	all.mu.Lock()
	defer all.mu.Unlock()
	if sh.hold == h {
		sh.output = sh.output[n:]
		sh.changed()
	}
}

// Type gives the shell what was typed, which it keeps. It waits for a shell
// that does not read; the error is then that of Context or ctx's cause.
func (h *ShellHold) Type(ctx context.Context, keys []byte) error {
	select {
	case h.shell.keys <- keys:
		return nil
	case <-h.shell.ctx.Done(): // the shell has ended, and its exit says so
		return nil
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resize gives the shell's window a size. It waits for a shell that is
// starting.
func (h *ShellHold) Resize(ctx context.Context, size sandbox.WindowSize) error {
	select {
	case h.shell.sizes <- size:
		return nil
	case <-h.shell.ctx.Done():
		return nil
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Exit is how the shell ended, after io.EOF: its exit code, or the error that
// it failed with.
func (h *ShellHold) Exit() (code int, err error) {
	all := &h.shell.s.shells
	all.mu.Lock()
	defer all.mu.Unlock()
	return h.shell.code, h.shell.err
}

// End ends the shell and all that it started, if it has not ended, and forgets
// it: its id is free.
func (h *ShellHold) End() {
	all := &h.shell.s.shells
	all.mu.Lock()
	defer all.mu.Unlock()
	if h.shell.hold == h {
		all.forget(h.shell)
		h.shell.cancel(errShellClosed)
	}
}

// Detach ends the hold. The shell goes on for DetachedShell, unless it was
// ended or has another connection. Idempotent.
func (h *ShellHold) Detach() {
	sh, all := h.shell, &h.shell.s.shells
	h.cancel(context.Canceled)
	all.mu.Lock()
	if sh.hold == h {
		sh.hold = nil
		sh.changed()
		if all.all[sh.id] == sh {
			sh.await()
		}
	}
	all.mu.Unlock()
	h.Attachment.Detach()
}

// over reports whether the session ends or the server drains, which ends the
// connections, too.
func (s *session) over() bool { return isClosed(s.ending) || s.m.drain.Err() != nil }
