package session

import (
	"context"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/shell"
)

// Bounds of shells, from the limits page; that of shells without a connection
// is our own.
const (
	MaxShells         = 10 // with a connection, in one session
	MaxDetachedShells = 10 // without
	ShellBuffer       = 256 << 10
	// DetachedShell is how long a shell waits for a connection to come back:
	// AgentCore's clients try for as long.
	DetachedShell = 15 * time.Minute
)

// shells are the shells of a session.
type shells struct {
	mu  sync.Mutex // of all shells and of their connections
	all map[shell.ID]*terminalShell
}

// ShellClaim is the right of a request to connect to a shell: no other request
// gets it meanwhile. It must be attached or released.
type ShellClaim struct {
	lease *Lease
	shell *terminalShell
}

// Shell claims a shell of the session, a new one if there is none with that
// id. The lease is the claim's if there is no error. Errors: CodeConflict while
// another request claims the shell, CodeQuota at a limit, CodeUnsupported when
// the driver runs no commands.
func (l *Lease) Shell(id shell.ID) (*ShellClaim, error) {
	if _, ok := l.s.box.(sandbox.Execer); !ok {
		return nil, isolde.Errorf(isolde.CodeUnsupported, "sandboxes of the driver %s run no shells", l.s.m.cfg.Driver.Name())
	}
	all := &l.s.shells
	all.mu.Lock()
	defer all.mu.Unlock()
	sh := all.all[id]
	if sh != nil && sh.claimed {
		return nil, isolde.Errorf(isolde.CodeConflict, "another request is connecting to shell %s", id).WithHint("try again in a moment")
	}
	if sh == nil || sh.hold == nil {
		if err := all.admit(sh == nil); err != nil {
			return nil, err
		}
	}
	if sh == nil {
		sh = newTerminalShell(l.s, id)
		if all.all == nil {
			all.all = make(map[shell.ID]*terminalShell)
		}
		all.all[id] = sh
	}
	sh.claimed = true
	sh.keep()
	return &ShellClaim{l, sh}, nil
}

// admit applies the limits to one more connection.
func (all *shells) admit(another bool) error {
	connected := 0
	for _, sh := range all.all {
		if sh.claimed || sh.hold != nil {
			connected++
		}
	}
	switch {
	case connected >= MaxShells:
		return isolde.Errorf(isolde.CodeQuota, "%d shells of this session are connected, the most allowed", connected).
			WithHint("leave one with exit")
	case another && len(all.all)-connected >= MaxDetachedShells:
		return isolde.Errorf(isolde.CodeQuota, "%d shells of this session wait for a connection, the most allowed", len(all.all)-connected).
			WithHint("connect to one again and leave it with exit; they end after %v", DetachedShell)
	}
	return nil
}

// forget makes way for another shell with the id. all.mu is held.
func (all *shells) forget(sh *terminalShell) {
	if all.all[sh.id] == sh {
		delete(all.all, sh.id)
	}
	sh.keep()
}

// Release gives the claim up.
func (c *ShellClaim) Release() {
	all := &c.shell.s.shells
	all.mu.Lock()
	c.shell.claimed = false
	switch {
	case !c.shell.started:
		all.forget(c.shell)
	case c.shell.hold == nil:
		c.shell.await()
	}
	all.mu.Unlock()
	c.lease.Release()
}

// Attach connects to the claimed shell, which it starts if it is new. A
// connection that has it loses it. The hold must be detached.
func (c *ShellClaim) Attach() *ShellHold {
	sh, all := c.shell, &c.shell.s.shells
	h := &ShellHold{Attachment: c.lease.Attach(), shell: sh}
	h.ctx, h.cancel = context.WithCancelCause(h.Attachment.Context())
	all.mu.Lock()
	defer all.mu.Unlock()
	sh.claimed = false
	if sh.hold != nil {
		sh.hold.cancel(ErrShellReplaced)
	}
	sh.hold = h
	h.Reconnected, h.Dropped = sh.started, sh.dropped
	sh.dropped = 0
	sh.changed()
	if !sh.started {
		sh.started = true
		if !sh.s.m.spawn(sh.run) {
			sh.ended, sh.err = true, errDraining()
		}
	}
	return h
}

// spawn runs f on a goroutine that Close waits for; false once the server
// drains.
func (m *Manager) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.draining.Load() {
		return false
	}
	m.wg.Go(f)
	return true
}
