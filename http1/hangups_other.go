//go:build !linux

package http1

import (
	"errors"
	"net"
)

// hangups would notice clients that go away; there is none on this system.
type hangups struct{}

func newHangups() (*hangups, error) { return nil, errors.ErrUnsupported }

func (*hangups) watch(*serverConn) error { return errors.ErrUnsupported }

func (*hangups) unwatch(*serverConn) {}

func (*hangups) forget(*serverConn) bool { return false }

func (*hangups) close() {}

func hasMore(*net.TCPConn) (bool, error) { return true, nil }
