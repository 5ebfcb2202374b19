package http1

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves plain requests itself, and leaves every connection on which
// another one comes to an http.Server, from that request on. Handlers notice
// no difference, but for these: requests are always full duplex, and a body must
// not be read after its handler returned.
//
// On systems without a way to notice that a client went away (see hangups), all
// is the http.Server's.
type Server struct {
	// HTTP serves what is not plain. Its Handler, ReadHeaderTimeout, IdleTimeout
	// and ErrorLog hold for all requests.
	HTTP *http.Server
	// Plain chooses the requests that are served here, if they are plain.
	Plain func(method, target string) bool

	hangups *hangups
	base    context.Context // of requests
	handed  *handed

	mu       sync.Mutex
	listener net.Listener
	conns    map[*serverConn]struct{}
	closing  atomic.Bool
	done     sync.WaitGroup
}

// Serve accepts connections until Shutdown or Close; it returns
// http.ErrServerClosed then. It is called once.
func (s *Server) Serve(l net.Listener) error {
	h, err := newHangups()
	if err != nil { // none on this system
		return s.HTTP.Serve(l)
	}
	s.mu.Lock()
	s.hangups, s.listener, s.conns = h, l, make(map[*serverConn]struct{})
	s.handed = &handed{conns: make(chan net.Conn), closed: make(chan struct{}), addr: l.Addr()}
	s.base = context.WithValue(context.WithValue(context.Background(), http.ServerContextKey, s.HTTP), http.LocalAddrContextKey, l.Addr())
	if s.closing.Load() { // before it began
		l.Close()
	}
	s.mu.Unlock()
	served := make(chan error, 1)
	go func() { served <- s.HTTP.Serve(s.handed) }()
	err = s.accept(l)
	if !s.closing.Load() {
		s.HTTP.Close()
		s.cut(func(*serverConn) bool { return true })
	}
	s.done.Wait()
	h.close()
	return errors.Join(err, notClosed(<-served))
}

// notClosed is nil for the end that was asked for.
func notClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// accept serves the listener's connections.
func (s *Server) accept(l net.Listener) error {
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch ne := net.Error(nil); {
		case s.closing.Load():
			if err == nil {
				nc.Close()
			}
			return http.ErrServerClosed
		case errors.As(err, &ne) && ne.Temporary(): //nolint:staticcheck // as net/http does: too many open files pass
			pause = min(max(5*time.Millisecond, 2*pause), time.Second)
			s.logf("http1: accept: %v; retrying in %v", err, pause)
			time.Sleep(pause)
			continue
		case err != nil:
			return err
		}
		pause = 0
		tcp, ok := nc.(*net.TCPConn)
		if !ok {
			s.handed.take(nc)
			continue
		}
		c := &serverConn{s: s, net: tcp}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.done.Go(c.serve)
	}
}

// Shutdown stops accepting, closes idle connections and waits until the others
// are, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.cut((*serverConn).idle) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.HTTP.Shutdown(ctx))
		}
	}
	return s.HTTP.Shutdown(ctx)
}

// Close cuts all connections.
func (s *Server) Close() error {
	s.stop()
	s.cut(func(*serverConn) bool { return true })
	return s.HTTP.Close()
}

func (s *Server) stop() {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
}

// cut closes the connections that match, and returns how many are left.
func (s *Server) cut(match func(*serverConn) bool) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if match(c) {
			c.net.Close()
			delete(s.conns, c)
		}
	}
	return len(s.conns)
}

func (s *Server) forget(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) logf(format string, args ...any) {
	if s.HTTP.ErrorLog != nil {
		s.HTTP.ErrorLog.Printf(format, args...)
	} else {
		log.Printf(format, args...)
	}
}

// handed is the listener by which connections reach the http.Server.
type handed struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
	addr   net.Addr
}

// take hands a connection over.
func (h *handed) take(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.addr }

// replayed is a connection of which a beginning was read.
type replayed struct {
	*net.TCPConn
	begin []byte
}

func (c *replayed) Read(p []byte) (int, error) {
	if len(c.begin) == 0 {
		return c.TCPConn.Read(p)
	}
	n := copy(p, c.begin)
	c.begin = c.begin[n:]
	return n, nil
}

// WriteTo is not that of TCPConn, which would leave out the beginning.
func (c *replayed) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}
