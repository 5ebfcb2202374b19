package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/shell"
)

// terminalShell is a shell on a terminal, which outlives the connections to it.
// While one is there, output that it does not take lets the shell wait; without
// one the oldest is dropped. shells.mu guards all but what is never changed.
type terminalShell struct {
	s      *session
	id     shell.ID
	ctx    context.Context // ends when the shell must
	cancel context.CancelCauseFunc
	keys   chan []byte // what is typed
	sizes  chan sandbox.WindowSize

	claimed bool
	started bool
	hold    *ShellHold // nil: nobody is connected
	abandon *time.Timer
	change  chan struct{} // closed, and replaced, when anything below changes, or hold
	output  []byte        // that was not sent yet
	dropped int64         // bytes, since the last connection ended
	ended   bool
	code    int
	err     error
}

var (
	errShellClosed    = errors.New("the shell was closed")
	errShellAbandoned = errors.New("nobody came back to the shell")
)

// maxKeys is how many messages of what is typed wait for a shell that does not
// read.
const maxKeys = 8

func newTerminalShell(s *session, id shell.ID) *terminalShell {
	sh := &terminalShell{
		s: s, id: id, keys: make(chan []byte, maxKeys), sizes: make(chan sandbox.WindowSize),
		change: make(chan struct{}),
	}
	sh.ctx, sh.cancel = context.WithCancelCause(s.life)
	return sh
}

// changed wakes who waits for a change.
func (sh *terminalShell) changed() {
	close(sh.change)
	sh.change = make(chan struct{})
}

// run is the life of the shell.
func (sh *terminalShell) run() {
	stop := context.AfterFunc(sh.s.m.drain, func() { sh.cancel(errDraining()) })
	defer stop()
	sh.s.log.Append("shell " + string(sh.id) + " opened")
	began := time.Now()
	code, err := withShell(sh.ctx, sh.s.box.(sandbox.Execer), sandbox.Command{
		Env:    []string{"TERM=xterm-256color"},
		Stdout: sh.show,
		Terminal: &sandbox.Terminal{
			Size:  sandbox.WindowSize{Columns: 80, Rows: 24},
			Input: &keyReader{shell: sh}, Resize: sh.sizes,
		},
	})
	if err != nil && isDone(sh.s.box) {
		select { // the actor learns it in a moment
		case <-sh.s.ending:
		case <-sh.s.m.actors.Done():
		}
	}
	sh.cancel(nil) // ends a read of what is typed
	if cause := context.Cause(sh.ctx); err != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	sh.s.m.cfg.Logger.Info("shell ended", "runtime", sh.s.key.Runtime, "session", sh.s.key.Session, "shell", sh.id,
		"exit", code, "dur", time.Since(began), "err", err)
	sh.s.log.Append("shell " + string(sh.id) + " ended")

	all := &sh.s.shells
	all.mu.Lock()
	defer all.mu.Unlock()
	sh.ended, sh.code, sh.err = true, code, err
	sh.changed()
	if isClosed(sh.s.ending) {
		all.forget(sh)
	}
}

// show takes output, as fast as it is sent.
func (sh *terminalShell) show(p []byte) error {
	all := &sh.s.shells
	for {
		all.mu.Lock()
		n := len(p)
		if sh.hold != nil {
			n = min(n, ShellBuffer-len(sh.output))
		}
		sh.output = append(sh.output, p[:n]...)
		if over := len(sh.output) - ShellBuffer; over > 0 {
			sh.output = sh.output[over:]
			sh.dropped += int64(over)
		}
		if n > 0 {
			sh.changed()
		}
		change := sh.change
		all.mu.Unlock()
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		select {
		case <-change:
		case <-sh.ctx.Done():
			return context.Cause(sh.ctx)
		}
	}
}

// keyReader reads what is typed.
type keyReader struct {
	shell *terminalShell
	rest  bytes.Reader
}

func (r *keyReader) Read(p []byte) (int, error) {
	if r.rest.Len() == 0 {
		select {
		case keys := <-r.shell.keys:
			r.rest.Reset(keys)
		case <-r.shell.ctx.Done():
			return 0, io.EOF
		}
	}
	return r.rest.Read(p)
}

// await gives a shell without a connection its time. shells.mu is held.
func (sh *terminalShell) await() { sh.abandon = time.AfterFunc(DetachedShell, sh.abandoned) }

// keep stops that time. shells.mu is held.
func (sh *terminalShell) keep() {
	if sh.abandon != nil {
		sh.abandon.Stop()
	}
}

// abandoned ends a shell to which nobody came back.
func (sh *terminalShell) abandoned() {
	all := &sh.s.shells
	all.mu.Lock()
	defer all.mu.Unlock()
	if sh.hold == nil && !sh.claimed {
		all.forget(sh)
		sh.cancel(errShellAbandoned)
	}
}
