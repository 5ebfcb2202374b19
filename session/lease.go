package session

import (
	"context"
	"net/http"
	"time"

	"github.com/isolde-run/isolde"
)

// Lease is the right of one request to use a session. The session stays
// Active until it is released.
type Lease struct {
	s         *session
	released  bool
	connected bool   // Connect counted it
	request   string // empty: not identified
	began     time.Time
}

// RoundTrip sends an HTTP request to the agent's port; scheme and host of the
// URL are filled in. The answer's body must be read or closed before Release.
func (l *Lease) RoundTrip(req *http.Request) (*http.Response, error) { return l.s.wire.RoundTrip(req) }

// Identify tells the session which request the lease is of, for its log, and
// who that says it is of: the first user that is named is the session's. A
// request id has no spaces; either may be empty.
func (l *Lease) Identify(request, user string) {
	l.s.setUser(user)
	l.request, l.began = request, time.Now()
}

// Context ends when the session's end begins.
func (l *Lease) Context() context.Context { return l.s.life }

// Session is the session's state now.
func (l *Lease) Session() isolde.Session { return l.s.snapshot() }

// Failed turns an error of talking to the agent into the one the caller gets,
// and records it for the agent's owner. If the agent has just exited or the
// session is being stopped, or the server shuts down, it says so; else that the agent did what: "closed
// the connection without an answer".
func (l *Lease) Failed(ctx context.Context, request, what string, err error) error {
	s := l.s
	if ctx.Err() != nil && !isClosed(s.ending) {
		return context.Cause(ctx)
	}
	// The connection breaks a moment before the driver sees the process end.
	wait := time.NewTimer(time.Second)
	defer wait.Stop()
	select {
	case <-s.ending:
	case <-s.m.actors.Done():
		if !isClosed(s.ending) { // the connection is the server's to cut
			return errDraining()
		}
	case <-wait.C:
	case <-ctx.Done():
	}
	var out *isolde.Error
	if isClosed(s.ending) {
		out = isolde.AsError(s.cutOff())
	} else {
		out = isolde.Errorf(isolde.CodeAgent, "the agent %s", what).
			WithHint("isolde logs shows its output")
	}
	s.agentError(isolde.AgentError{Time: time.Now(), Request: request, Message: out.Message + ": " + err.Error()})
	return out.WithCause(err)
}

// AgentError records what the agent did wrong, for its owner.
func (l *Lease) AgentError(e isolde.AgentError) { l.s.agentError(e) }

// Release ends the request and starts the idle clock. Idempotent; not safe
// for concurrent use.
func (l *Lease) Release() {
	if !l.released {
		l.released = true
		now := time.Now()
		l.s.used.move(now)
		if l.request != "" {
			l.s.log.index.request(ranRequest{l.request, l.began, now})
		}
		if l.connected {
			l.s.disconnected()
		}
		l.s.gate.leave()
	}
}
