package http1

import (
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
)

// answer is the body of a response. At its end the connection is free for
// another request.
type answer struct {
	c     *conn
	p     *payload
	stop  func() bool // of the request's context
	close bool        // the connection is good for nothing more
	over  bool
	err   error // what Read returns once over

	left  int64         // bytes of a body of known length
	other io.ReadCloser // what net/http made of the body
	chunk io.Reader     // a body in chunks
}

// receive gives a response its body.
func (c *conn) receive(resp *http.Response, p *payload, stop func() bool) error {
	a := &answer{c: c, p: p, stop: stop, close: resp.Close || resp.StatusCode == http.StatusSwitchingProtocols}
	switch {
	case resp.Body != nil:
		a.other = resp.Body
	case resp.ContentLength >= 0:
		a.left = resp.ContentLength
	default:
		a.chunk = httputil.NewChunkedReader(c.r)
	}
	resp.Body = a
	if a.other == http.NoBody || a.chunk == nil && a.other == nil && a.left == 0 {
		a.end(io.EOF)
	}
	return nil
}

// Read reads what has arrived of the body; the end comes with the last bytes.
func (a *answer) Read(b []byte) (n int, err error) {
	if a.over {
		return 0, a.err
	}
	if len(b) == 0 {
		return 0, nil
	}
	switch {
	case a.other != nil:
		n, err = a.other.Read(b)
	case a.chunk != nil:
		if n, err = a.chunk.Read(b); errors.Is(err, io.EOF) {
			err = a.endChunks()
		}
	default:
		n, err = a.c.r.Read(b[:min(int64(len(b)), a.left)])
		if a.left -= int64(n); a.left == 0 {
			err = io.EOF
		} else if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		a.end(err)
	}
	return n, err
}

// Ready says whether a Read returns at once.
func (a *answer) Ready() bool { return a.over || a.c.r.Buffered() > 0 }

// Whole says whether all of the body, of known length, can be read at once.
func (a *answer) Whole() bool {
	return a.over || a.chunk == nil && a.other == nil && int64(a.c.r.Buffered()) >= a.left
}

// endChunks reads the line after the last chunk. Trailers are not passed on,
// and what might follow them is not looked for.
func (a *answer) endChunks() error {
	b, err := a.c.r.Peek(2)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if string(b) != "\r\n" {
		a.close = true
		return io.EOF
	}
	_, _ = a.c.r.Discard(2) // they are there
	return io.EOF
}

// end ends the exchange.
func (a *answer) end(err error) {
	a.over, a.err = true, err
	running := a.p.sent != nil && !isClosed(a.p.sent)
	stopped := a.stop()
	if errors.Is(err, io.EOF) && stopped && !a.close && !running && !a.p.rest && a.c.r.Buffered() == 0 {
		a.c.t.keep(a.c)
		return
	}
	a.c.Close()
	a.p.wait(a.c)
}

var errBodyClosed = errors.New("read of an answer that was closed")

// Close ends the exchange, also before the body's end.
func (a *answer) Close() error {
	if !a.over {
		a.end(errBodyClosed)
	}
	return nil
}

// WriteTo is for Copy.
func (a *answer) WriteTo(w io.Writer) (n int64, err error) {
	if a.over || a.chunk != nil || a.other != nil || a.left < bulk {
		return copyBy(w, onlyReader{a})
	}
	if n, err = copyBy(w, io.LimitReader(a, int64(a.c.r.Buffered()))); err != nil || a.over {
		return n, err
	}
	moved, ok, err := splice(w, a.c.net, a.left)
	if !ok {
		m, err := copyBy(w, onlyReader{a})
		return n + m, err
	}
	a.left -= moved
	if failed := (*ReadError)(nil); errors.As(err, &failed) {
		a.end(failed.Err)
	} else if err == nil {
		a.end(io.EOF)
	}
	return n + moved, err
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
