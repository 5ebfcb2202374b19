package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial makes a TCP connection from inside the router's namespace, such as to
// Link.Addr. ctx bounds the dial only. An error has the system's in its chain,
// for example ECONNREFUSED, or ctx's.
func (r *Router) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	conn, err := r.dial(ctx, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return conn, nil
}

func (r *Router) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if !to.Addr().Is4() {
		return nil, fmt.Errorf("%s is not an IPv4 address", to.Addr())
	}
	// A socket stays in the namespace it was made in, so that only this
	// moment needs a thread there.
	if err := r.enter(); err != nil {
		return nil, err
	}
	fd := -1
	err := r.ns.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	r.life.RUnlock()
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close() // FileConn takes a copy
	switch {
	case errors.Is(err, unix.EINPROGRESS):
		if err := awaitConnect(ctx, f); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

// awaitConnect returns when the socket is connected, cannot be, or ctx ends.
func awaitConnect(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var connectErr error
	err = raw.Write(func(fd uintptr) (done bool) {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			connectErr = os.NewSyscallError("getsockopt", err)
		case code != 0:
			connectErr = os.NewSyscallError("connect", unix.Errno(code))
		default:
			_, err := unix.Getpeername(int(fd)) // fails until the connection is there
			return err == nil
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, connectErr)
}
