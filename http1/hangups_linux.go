package http1

import (
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// hangups notices clients that go away while their request is worked on. The
// kernel tells of them once a connection was registered, so that no request
// costs anything for it, where net/http has a goroutine that reads.
type hangups struct {
	file *os.File // of an epoll instance, itself waited for by Go's own
	raw  syscall.RawConn
	done chan struct{}

	mu    sync.Mutex
	conns map[int32]*serverConn // by descriptor
}

func newHangups() (*hangups, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for os.NewFile to wait for it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	h := &hangups{file: os.NewFile(uintptr(fd), "hangups"), done: make(chan struct{}), conns: make(map[int32]*serverConn)}
	if h.raw, err = h.file.SyscallConn(); err != nil {
		h.file.Close()
		return nil, err
	}
	go h.run()
	return h, nil
}

// watch tells c once its client hangs up.
func (h *hangups) watch(c *serverConn) error {
	raw, err := c.net.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		c.fd = int32(fd)
		h.mu.Lock()
		h.conns[c.fd] = c
		h.mu.Unlock()
		inner = h.controlled(unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: c.fd})
	})
	if err == nil {
		err = inner
	}
	return err
}

// unwatch ends watch for a connection that goes on. Idempotent.
func (h *hangups) unwatch(c *serverConn) {
	if h.forget(c) {
		_ = h.controlled(unix.EPOLL_CTL_DEL, c.fd, nil)
	}
}

// forget ends watch for a connection that was closed. Its descriptor may be
// another's by now.
func (h *hangups) forget(c *serverConn) (known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known = h.conns[c.fd] == c; known {
		delete(h.conns, c.fd)
	}
	return known
}

func (h *hangups) controlled(op int, fd int32, event *unix.EpollEvent) error {
	var inner error
	err := h.raw.Control(func(ep uintptr) { inner = unix.EpollCtl(int(ep), op, int(fd), event) })
	if err == nil {
		err = os.NewSyscallError("epoll_ctl", inner)
	}
	return err
}

func (h *hangups) run() {
	defer close(h.done)
	var events [64]unix.EpollEvent
	for {
		n := 0
		err := h.raw.Read(func(fd uintptr) (done bool) {
			n, _ = unix.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil {
			return // closed
		}
		for _, e := range events[:n] {
			h.mu.Lock()
			c := h.conns[e.Fd]
			h.mu.Unlock()
			if c != nil {
				c.hungUp()
			}
		}
	}
}

func (h *hangups) close() {
	h.file.Close()
	<-h.done
}

// hasMore says whether there is more of a connection to read; false at its end.
func hasMore(c *net.TCPConn) (more bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		var n int
		n, _, inner = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if inner == unix.EAGAIN { //nolint:errorlint // as the system call returns it
			more, inner = true, nil // it is open
			return
		}
		more = n > 0
	})
	if err == nil {
		err = inner
	}
	return more, err
}
