package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// conn is a connection to the server, used by one request at a time.
type conn struct {
	t      *Transport
	net    net.Conn
	socket *socket // nil where net is no TCP connection
	bound  *headBound
	r      *bufio.Reader
	w      []byte // where heads are written, with small bodies
	reused bool
	sent   uint64    // bytes written, all requests together
	before uint64    // the same, before the last request
	since  time.Time // when it became idle
}

func newConn(t *Transport, nc net.Conn) *conn {
	bound := &headBound{r: nc}
	return &conn{t: t, net: nc, socket: newSocket(nc), bound: bound, r: bufio.NewReaderSize(bound, 4<<10)}
}

// maxHead bounds the head of an answer, in bytes.
const maxHead = 1 << 20

var errHeadBound = errors.New("the answer's header is longer than 1 MiB")

// headBound bounds what is read of a connection before a body begins.
type headBound struct {
	r    io.Reader
	left int64 // negative: no bound
}

func (b *headBound) Read(p []byte) (int, error) {
	if b.left < 0 {
		return b.r.Read(p)
	}
	if b.left == 0 {
		return 0, errHeadBound
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Close closes the connection. Idempotent, and safe while others use it.
func (c *conn) Close() {
	c.t.forget(c)
	c.net.Close()
}

// quiet says whether a connection that was kept is still open, and nothing
// came over it.
//
// A connection used a moment ago is taken at its word: a server that closes it
// just now is met in delivered, as one that does so after any look would be.
func (c *conn) quiet() bool {
	return c.socket == nil || time.Since(c.since) < 5*time.Millisecond || c.socket.quiet()
}

// delivered says whether any part of the last request may have reached the
// server.
func (c *conn) delivered() bool {
	if c.socket == nil {
		return true
	}
	acked, ok := c.socket.acked()
	return !ok || acked > c.before+1 // the SYN counts as one
}

// roundTrip sends the request and reads the answer's head.
func (c *conn) roundTrip(req *http.Request, p *payload) (*http.Response, error) {
	ctx := req.Context()
	stop := afterEnd(ctx, c.Close)
	resp, err := c.exchange(req, p)
	if err != nil {
		stop()
		p.wait(c)
		return nil, errors.Join(p.err, err)
	}
	return resp, c.receive(resp, p, stop)
}

func (c *conn) exchange(req *http.Request, p *payload) (*http.Response, error) {
	var err error
	if c.w, err = appendHead(c.w[:0], req, p); err != nil {
		return nil, err
	}
	c.before = c.sent
	rest := p.memory
	if len(c.w)+len(rest) <= inline {
		c.w, rest = append(c.w, rest...), nil
	}
	n, err := c.net.Write(c.w)
	c.sent += uint64(n)
	if cap(c.w) > inline {
		c.w = nil
	}
	if err != nil {
		return nil, err
	}
	if rest != nil || p.body != nil {
		p.send(c, rest)
	}
	for range maxInformational {
		resp, err := c.readResponse(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			p.settle()
			return resp, nil
		}
	}
	return nil, errInformational
}

// readResponse reads the head of an answer. A plain one that is there as a
// whole is read here, all others by net/http, which makes their Body as well.
func (c *conn) readResponse(req *http.Request) (*http.Response, error) {
	c.bound.left = maxHead
	defer func() { c.bound.left = -1 }()
	if _, err := c.r.Peek(1); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	b, err := c.r.Peek(c.r.Buffered())
	if err != nil {
		return nil, err
	}
	if h, size, ok := parseHead(b); ok {
		if resp := h.response(req); resp != nil {
			_, err := c.r.Discard(size)
			return resp, err
		}
	}
	return http.ReadResponse(c.r, req)
}

var errHeader = errors.New("a header of the request cannot be sent")

// appendHead writes a request's head.
func appendHead(b []byte, req *http.Request, p *payload) ([]byte, error) {
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = append(b, requestURI(req.URL)...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	name := req.Host
	if name == "" {
		name = req.URL.Host
	}
	b = append(b, name...)
	b = append(b, "\r\n"...)
	var ok bool
	if b, ok = appendHeader(b, req.Header, contentLength, transferEncoding, host, trailer); !ok || !isHost(name) || !isToken(req.Method) {
		return b, errHeader
	}
	switch {
	case p.length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case p.length > 0 || req.Method != http.MethodGet && req.Method != http.MethodHead:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, p.length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

func requestURI(u *url.URL) string {
	if u.Path == "/invocations" && u.RawPath == "" && u.RawQuery == "" && !u.ForceQuery {
		return u.Path // nearly always
	}
	return u.RequestURI()
}

// appendHeader writes headers but for the named ones. ok is false if one would
// end the line it stands in, or the head.
func appendHeader(b []byte, h http.Header, but ...string) (_ []byte, ok bool) {
next:
	for name, values := range h {
		for _, s := range but {
			if name == s {
				continue next
			}
		}
		if !isToken(name) {
			return b, false
		}
		for _, v := range values {
			for i := range len(v) {
				if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
					return b, false
				}
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	return b, true
}
