package gvisor

import (
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// connections are the open ones to an agent. A sandbox that ends says no
// goodbye to its peers, and the kernel would wait for it.
type connections struct {
	mu    sync.Mutex
	ended bool
	open  map[*conn]struct{}
}

// conn is a connection to an agent. When the sandbox ends, what has arrived
// can still be read; after that it is reset.
type conn struct {
	*net.TCPConn
	of *connections
}

// add keeps a connection until it is closed.
func (c *connections) add(tcp *net.TCPConn) *conn {
	n := &conn{TCPConn: tcp, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[*conn]struct{}{}
	}
	c.open[n] = struct{}{}
	if c.ended {
		n.end()
	}
	return n
}

// end ends all connections, also those to come. Idempotent.
func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for n := range c.open {
		n.end()
	}
}

func (c *connections) isEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (n *conn) end() {
	// Either fails when the peer has closed it, which is as good.
	_ = n.CloseRead()
	_ = n.CloseWrite()
}

// Read returns ECONNRESET in its chain when the sandbox ended before the agent
// closed the connection.
func (n *conn) Read(p []byte) (int, error) {
	got, err := n.TCPConn.Read(p)
	if errors.Is(err, io.EOF) && n.of.isEnded() && !n.peerClosed() {
		err = &net.OpError{Op: "read", Net: "tcp", Source: n.LocalAddr(), Addr: n.RemoteAddr(), Err: unix.ECONNRESET}
	}
	return got, err
}

// peerClosed says whether the agent's end of the stream has arrived.
func (n *conn) peerClosed() (yes bool) {
	raw, err := n.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		yes = err == nil && (info.State == unix.BPF_TCP_CLOSE_WAIT || info.State == unix.BPF_TCP_LAST_ACK || info.State == unix.BPF_TCP_CLOSE)
	})
	return yes
}

// Close closes the connection, at once if nobody is there to say goodbye to.
func (n *conn) Close() error {
	n.of.mu.Lock()
	delete(n.of.open, n)
	ended := n.of.ended
	n.of.mu.Unlock()
	if ended {
		_ = n.SetLinger(0)
	}
	return n.TCPConn.Close()
}
