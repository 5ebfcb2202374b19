package session

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
)

// Attachment is an open connection's hold on a session, such as a WebSocket's.
// Unlike a lease it does not stop the idle clock: only what passes sets it
// back, so that a connection that was forgotten keeps no session for ever. The
// session is Active while it is open, and its snapshot says when it ends if
// nothing passes.
type Attachment struct {
	s        *session
	ctx      context.Context
	cancel   context.CancelFunc
	detached atomic.Bool
	counted  bool // by Connect
}

// Dial opens a further connection to the agent's port. It is cut when the
// session ends. ctx bounds the dial only.
func (l *Lease) Dial(ctx context.Context) (net.Conn, error) { return l.s.wire.transport.Open(ctx) }

// Attach turns the lease, which is released, into the hold of a connection
// that stays open, and which the limits count if Connect gave the lease. The
// attachment must be detached.
func (l *Lease) Attach() *Attachment {
	a := &Attachment{s: l.s, counted: l.connected}
	l.connected = false
	// The session's end and the server's both end the connection.
	ctx, cancel := context.WithCancel(l.s.life)
	stop := context.AfterFunc(l.s.m.drain, cancel)
	a.ctx, a.cancel = ctx, func() { stop(); cancel() }
	l.s.attached.Add(1)
	l.Release()
	return a
}

// Context ends when the connection must: the session's end begins, or the
// server drains.
func (a *Attachment) Context() context.Context { return a.ctx }

// Touch sets the idle clock back: something passed.
func (a *Attachment) Touch() { a.s.used.move(time.Now()) }

// Ended waits up to a second for the end of a session whose agent has just
// cut a connection, since that breaks a moment before the driver sees the
// process end. It returns why the connection is over ("the session ended: it
// was idle for 15m0s") and whether that is the agent's fault; an empty reason
// if session and server go on.
func (a *Attachment) Ended() (reason string, fault bool) {
	wait := time.NewTimer(time.Second)
	defer wait.Stop()
	select {
	case <-a.s.ending:
	case <-a.s.m.drain.Done():
		return "the server shuts down; the session goes on", false
	case <-wait.C:
		return "", false
	}
	e := a.s.end
	return "the session ended: " + e.clause(), e.cause == isolde.EndExited || e.cause == isolde.EndUnhealthy
}

// Detach ends the hold. Idempotent.
func (a *Attachment) Detach() {
	if !a.detached.Swap(true) {
		a.s.attached.Add(-1)
		if a.counted {
			a.s.disconnected()
		}
		a.cancel()
	}
}
