package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// serverConn is a client's connection, as long as its requests are plain.
type serverConn struct {
	s       *Server
	net     *net.TCPConn
	fd      int32 // for hangups
	remote  string
	last    target
	working atomic.Bool // on a request

	buf  *[readBuffer]byte
	r, w int // the part of buf that was read and not used yet

	out  []byte // what is to be written, in turn with
	held []byte // the beginning of an answer whose length is not known yet

	gone atomic.Bool             // the client has hung up; see hangups
	read atomic.Bool             // the request under way was read to its end, and no other follows
	call atomic.Pointer[Context] // of the request under way
}

// readBuffer bounds the head of a plain request.
const readBuffer = 8 << 10

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

func (c *serverConn) idle() bool { return !c.working.Load() }

// serve serves requests until the connection ends or is handed over.
func (c *serverConn) serve() {
	defer c.s.forget(c)
	c.remote = c.net.RemoteAddr().String()
	c.buf = readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(c.buf)
	err := c.s.hangups.watch(c)
	defer c.s.hangups.forget(c)
	if err != nil {
		c.handOver()
		return
	}
	for timeout := c.s.HTTP.ReadHeaderTimeout; ; timeout = c.s.HTTP.IdleTimeout {
		req, err := c.next(timeout)
		if errors.Is(err, errNotPlain) {
			c.handOver()
			return
		}
		if err != nil || !c.handle(req) {
			c.net.Close()
			return
		}
	}
}

// errNotPlain says that a request is not for this package.
var errNotPlain = errors.New("not a plain request")

// next reads the head of the next request; timeout bounds the wait for its
// first byte.
func (c *serverConn) next(timeout time.Duration) (*http.Request, error) {
	c.deadline(timeout)
	waiting := true // for the first byte
	for {
		if h, size, ok := parseHead(c.buf[c.r:c.w]); ok {
			ctx := NewContext(c.s.base)
			req := h.request(ctx, &c.last)
			if req == nil || !c.s.Plain(req.Method, req.RequestURI) {
				return nil, errNotPlain
			}
			c.working.Store(true)
			c.call.Store(ctx)
			c.r += size
			return req, nil
		} else if size < 0 || c.w-c.r == len(c.buf) {
			return nil, errNotPlain
		}
		if c.r > 0 {
			c.r, c.w = 0, copy(c.buf[:], c.buf[c.r:c.w])
		}
		if waiting && c.w > 0 {
			waiting = false
			c.deadline(c.s.HTTP.ReadHeaderTimeout) // for all of the head, however it trickles in
		}
		n, err := c.net.Read(c.buf[c.w:])
		if c.w += n; n == 0 && err != nil {
			return nil, err
		}
	}
}

func (c *serverConn) deadline(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	_ = c.net.SetReadDeadline(at)
}

// handOver gives the connection to net/http, with what was read of it.
func (c *serverConn) handOver() {
	c.s.hangups.unwatch(c)
	_ = c.net.SetReadDeadline(time.Time{})
	begin := append([]byte(nil), c.buf[c.r:c.w]...)
	c.s.forget(c)
	c.s.handed.take(&replayed{TCPConn: c.net, begin: begin})
}

// handle answers a request; false if the connection must be closed.
func (c *serverConn) handle(req *http.Request) (more bool) {
	ctx := c.call.Load()
	defer ctx.Cancel(nil)
	body := &incoming{c: c, left: req.ContentLength}
	c.read.Store(false)
	_ = c.net.SetReadDeadline(time.Time{})
	if req.RemoteAddr = c.remote; body.left > 0 {
		req.Body = body
	} else {
		req.Body = http.NoBody
		c.readAll()
	}
	w := &response{c: c, header: make(http.Header, 8), length: unknown}
	if !c.run(w, req) {
		return false
	}
	if w.finish() != nil {
		return false
	}
	c.call.Store(nil)
	if w.deadline {
		_ = c.net.SetWriteDeadline(time.Time{})
	}
	if body.left > 0 && !w.close {
		w.close = !body.skip()
	}
	if w.close {
		c.linger()
		return false
	}
	c.working.Store(false)
	return !c.s.closing.Load()
}

// run calls the handler; false if that panicked, as it does on purpose to
// break the connection.
func (c *serverConn) run(w *response, req *http.Request) (ok bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			c.s.logf("http1: panic serving %v: %v\n%s", c.remote, v, debug.Stack())
		}
	}()
	c.s.HTTP.Handler.ServeHTTP(w, req)
	return true
}

// linger lets the client read the answer before the connection ends: closing
// it while the client still sends would take the answer away.
func (c *serverConn) linger() {
	if c.net.CloseWrite() == nil {
		c.deadline(500 * time.Millisecond)
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.net})
	}
}

// readAll says that the request was read to its end.
func (c *serverConn) readAll() {
	c.read.Store(c.r == c.w)
	c.checkGone()
}

// hungUp is called when the client will send nothing more.
func (c *serverConn) hungUp() {
	c.gone.Store(true)
	c.checkGone()
}

// checkGone cancels the request of a client that is gone. Like net/http, it
// does so for one that only stopped sending, and not while there is more of the
// connection to read.
func (c *serverConn) checkGone() {
	if !c.gone.Load() || !c.read.Load() {
		return
	}
	if more, err := hasMore(c.net); more && err == nil {
		return
	}
	c.cancel()
}

// cancel ends the context of the request under way.
func (c *serverConn) cancel() {
	if ctx := c.call.Load(); ctx != nil {
		ctx.Cancel(nil)
	}
}

// incoming is the body of a request.
type incoming struct {
	c    *serverConn
	left int64
}

// Buffered is how many bytes can be read without waiting.
func (b *incoming) Buffered() int { return int(min(b.left, int64(b.c.w-b.c.r))) }

// Read reads what has arrived; the end comes with the last bytes.
func (b *incoming) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.left)]
	c := b.c
	if c.r < c.w {
		n = copy(p, c.buf[c.r:c.w])
		c.r += n
	} else if n, err = c.net.Read(p); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		c.cancel()
		return n, err
	}
	if b.left -= int64(n); b.left == 0 {
		c.readAll()
		err = io.EOF
	}
	return n, err
}

// WriteTo is for Copy.
func (b *incoming) WriteTo(w io.Writer) (n int64, err error) {
	if n, err = copyBy(w, io.LimitReader(b, int64(b.Buffered()))); err != nil || b.left == 0 {
		return n, err
	}
	if b.left >= bulk {
		moved, ok, err := splice(w, b.c.net, b.left)
		if b.left -= moved; ok {
			switch failed := (*ReadError)(nil); {
			case err == nil:
				b.c.readAll()
			case errors.As(err, &failed) && !errors.Is(err, os.ErrDeadlineExceeded):
				b.c.cancel()
			}
			return n + moved, err
		}
	}
	m, err := copyBy(w, onlyReader{b})
	return n + m, err
}

// Close does nothing: what is left of a body is the connection's to skip.
func (b *incoming) Close() error { return nil }

// skip reads what a handler left of a body, if that is little.
func (b *incoming) skip() bool {
	if b.left > 256<<10 {
		return false
	}
	b.c.deadline(5 * time.Second)
	_, err := io.Copy(io.Discard, struct{ io.Reader }{b})
	return err == nil
}

// wantsClose says whether a Connection header ends the connection.
func wantsClose(values []string) bool {
	for _, v := range values {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "close") {
				return true
			}
		}
	}
	return false
}
