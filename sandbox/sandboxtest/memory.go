package sandboxtest

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// memoryListener hands out the ends of net.Pipe. Unlike a socket, a pipe
// blocks in a way that testing/synctest can see.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// dial waits until the other end is accepted.
func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	err := error(&net.OpError{Op: "dial", Net: "fake", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	ours.Close()
	theirs.Close()
	return nil, err
}

// Accept returns the agent's end of the next dial.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close refuses further dials.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is a name only.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "fake" }
func (memoryAddr) String() string  { return "fake" }

// copyFlushing streams what it reads as it comes.
func copyFlushing(w http.ResponseWriter, r io.Reader) {
	flusher := http.NewResponseController(w)
	_ = flusher.EnableFullDuplex() // so that an answer may begin before the request ended
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			flusher.Flush()
		}
		if err != nil {
			return
		}
	}
}
