package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport carries requests to one server, on the goroutine that asks: it has
// none of its own but for bodies that do not fit in memory. Dial is required;
// the fields must not change once it is used. Safe for concurrent use.
type Transport struct {
	Dial        func(context.Context) (net.Conn, error)
	MaxIdle     int           // connections kept; default 1,024
	IdleTimeout time.Duration // how long they are kept; default 1 min

	mu     sync.Mutex
	conns  map[*conn]struct{}
	dials  map[*context.CancelCauseFunc]struct{} // of those under way
	idle   []*conn                               // the one used last is at the end
	sweep  *time.Timer
	closed bool
}

// ErrClosed is the error of requests once Close was called.
var ErrClosed = errors.New("the connections were closed")

// maxInformational bounds the 1xx answers that may come before the real one.
const maxInformational = 5

var errInformational = errors.New("too many informational answers")

// RoundTrip sends a request and returns the answer when it begins. Of the URL
// it sends path and query. A body of at most 64 KiB is read whole first, a
// longer one beside the answer. Nobody reads the body any more once RoundTrip
// failed or the answer was read to its end or closed. The request's Body is
// not closed unless to end a Read under way, which Close must therefore do.
//
// A request goes over a connection that was kept. If the server had just
// closed that, a body in memory is sent again, but only if the kernel knows that
// not one byte of it arrived.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	p, err := newPayload(req)
	if err != nil {
		return nil, orCause(req.Context(), err)
	}
	for {
		c, err := t.get(req.Context())
		if err != nil {
			return nil, err
		}
		resp, err := c.roundTrip(req, p)
		if err == nil {
			return resp, nil
		}
		again := p.body == nil && c.reused && !c.delivered() && req.Context().Err() == nil
		c.Close()
		if !again {
			return nil, orCause(req.Context(), err)
		}
	}
}

// orCause is why a context ended, if it did, else err.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return causeOf(ctx)
	}
	return err
}

// Close cuts every connection, also those with a request under way.
func (t *Transport) Close() {
	t.mu.Lock()
	conns, dials := t.conns, t.dials
	t.conns, t.dials, t.idle, t.closed = nil, nil, nil, true
	if t.sweep != nil {
		t.sweep.Stop()
	}
	t.mu.Unlock()
	for cancel := range dials {
		(*cancel)(ErrClosed)
	}
	for c := range conns {
		c.net.Close()
	}
}

// get returns a connection that was kept, or a new one.
func (t *Transport) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, causeOf(ctx)
	}
	for {
		c, err := t.kept()
		if err != nil {
			return nil, err
		}
		if c == nil {
			break
		}
		if c.quiet() {
			c.reused = true
			return c, nil
		}
		c.Close() // the server closed it, or speaks unasked
	}
	return t.dial(ctx)
}

// Open opens a connection for the caller's own use, such as a WebSocket. Close
// cuts it with all others.
func (t *Transport) Open(ctx context.Context) (net.Conn, error) {
	c, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &opened{c.net, c}, nil
}

type opened struct {
	net.Conn
	c *conn
}

func (o *opened) Close() error {
	o.c.t.forget(o.c)
	return o.Conn.Close()
}

func (t *Transport) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.mu.Lock()
	if t.conns == nil && !t.closed {
		t.conns, t.dials = make(map[*conn]struct{}), make(map[*context.CancelCauseFunc]struct{})
	}
	if !t.closed {
		t.dials[&cancel] = struct{}{}
	}
	t.mu.Unlock()
	nc, err := t.Dial(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.dials, &cancel)
	if err != nil {
		return nil, err
	}
	if t.closed {
		nc.Close()
		return nil, ErrClosed
	}
	c := newConn(t, nc)
	t.conns[c] = struct{}{}
	return c, nil
}

func (t *Transport) kept() (*conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	if len(t.idle) == 0 {
		return nil, nil
	}
	c := t.idle[len(t.idle)-1]
	t.idle = t.idle[:len(t.idle)-1]
	return c, nil
}

// keep takes a connection back.
func (t *Transport) keep(c *conn) {
	t.mu.Lock()
	most := t.MaxIdle
	if most == 0 {
		most = 1024
	}
	kept := !t.closed && len(t.idle) < most
	if kept {
		c.since = time.Now()
		t.idle = append(t.idle, c)
		if len(t.idle) == 1 {
			t.sweepLater()
		}
	}
	t.mu.Unlock()
	if !kept {
		c.Close()
	}
}

// sweepLater makes sure that connections are closed once they were idle for
// too long. Under mu.
func (t *Transport) sweepLater() {
	if t.sweep == nil {
		t.sweep = time.AfterFunc(t.idleTimeout(), t.closeIdle)
	}
}

func (t *Transport) closeIdle() {
	t.mu.Lock()
	t.sweep = nil
	var old []*conn
	limit := time.Now().Add(-t.idleTimeout())
	for len(t.idle) > 0 && !t.idle[0].since.After(limit) {
		old = append(old, t.idle[0])
		t.idle = t.idle[1:]
	}
	if len(t.idle) > 0 && !t.closed {
		t.sweep = time.AfterFunc(time.Until(t.idle[0].since.Add(t.idleTimeout())), t.closeIdle)
	}
	t.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

func (t *Transport) idleTimeout() time.Duration {
	if t.IdleTimeout == 0 {
		return time.Minute
	}
	return t.IdleTimeout
}

func (t *Transport) forget(c *conn) {
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
}
