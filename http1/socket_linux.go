package http1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket asks the kernel about a TCP connection. Not safe for concurrent use.
type socket struct {
	raw  syscall.RawConn
	peek func(fd uintptr) // kept, so that it is allocated once
	err  error            // of peek
	n    int
}

// newSocket returns nil for what is not a TCP connection.
func newSocket(c net.Conn) *socket {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.peek = func(fd uintptr) {
		var one [1]byte
		s.n, _, s.err = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}
	return s
}

// quiet says whether the connection is open and has nothing to read.
func (s *socket) quiet() bool {
	return s.raw.Control(s.peek) == nil && s.err == unix.EAGAIN //nolint:errorlint // as the system call returns it
}

// acked is how many bytes the peer's kernel acknowledged, the SYN included.
// Data that meets a closed socket is not among them.
func (s *socket) acked() (n uint64, ok bool) {
	err := s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n, ok = info.Bytes_acked, true
		}
	})
	return n, ok && err == nil
}
