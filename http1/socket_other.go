//go:build !linux

package http1

import "net"

// socket asks the kernel about a TCP connection, on Linux.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) quiet() bool { return true }

func (*socket) acked() (n uint64, ok bool) { return 0, false }
