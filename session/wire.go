package session

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/isolde-run/isolde/sandbox"
)

var errEnded = errors.New("session ended")

// wire is a session's HTTP connections to its agent. It knows every
// connection, because a sandbox that is taken away with its network resets
// none of them: without close, a request would wait for ever.
type wire struct {
	box       sandbox.Sandbox
	port      int
	transport *http.Transport

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func newWire(box sandbox.Sandbox, port int) *wire {
	w := &wire{box: box, port: port, conns: make(map[net.Conn]struct{})}
	w.transport = &http.Transport{
		DialContext:         w.dial,
		DisableCompression:  true, // bytes pass untouched
		MaxIdleConnsPerHost: 256,  // a dial visits another namespace; bench/ Stream shows its price
		// uvicorn closes a kept-alive connection after 5 s; ours must go first,
		// or a request meets the close.
		IdleConnTimeout: 3 * time.Second,
		WriteBufferSize: 64 << 10,
		ReadBufferSize:  64 << 10,
	}
	return w
}

// RoundTrip sends a request to the agent; the URL's scheme and host are filled in.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host = "http", "agent"
	return w.transport.RoundTrip(req)
}

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c, err := w.box.Dial(ctx, w.port)
	if err != nil {
		return nil, err
	}
	t := &trackedConn{Conn: c, wire: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
		return nil, errEnded
	}
	w.conns[t] = struct{}{}
	return t, nil
}

// close cuts every connection.
func (w *wire) close() {
	w.mu.Lock()
	conns := w.conns
	w.conns, w.closed = nil, true
	w.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	w.transport.CloseIdleConnections()
}

type trackedConn struct {
	net.Conn
	wire *wire
}

// bulkBuffer is what a large body is copied by, measured in bench/ Bulk: with
// 64 KiB 100 MB take 1.5 times as long.
const bulkBuffer = 256 << 10

var bulkBuffers = sync.Pool{New: func() any { return new([bulkBuffer]byte) }}

// ReadFrom writes a body of known length, which the transport hands over whole.
func (c *trackedConn) ReadFrom(r io.Reader) (int64, error) {
	buf := bulkBuffers.Get().(*[bulkBuffer]byte)
	defer bulkBuffers.Put(buf)
	// Without their other methods, which io.CopyBuffer would prefer to the buffer.
	return io.CopyBuffer(struct{ io.Writer }{c.Conn}, struct{ io.Reader }{r}, buf[:])
}

func (c *trackedConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
