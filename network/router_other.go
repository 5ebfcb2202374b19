//go:build !linux

package network

import (
	"context"
	"net"
	"net/netip"

	"github.com/isolde-run/isolde"
)

// Router exists on Linux only.
type Router struct{}

var errLinuxOnly = isolde.Errorf(isolde.CodeUnsupported, "sandboxes have networks of their own on Linux only")

// Probe returns an error with CodeUnsupported.
func Probe() error { return errLinuxOnly }

// Open returns an error with CodeUnsupported.
func Open(context.Context, Config) (*Router, error) { return nil, errLinuxOnly }

// Attach returns an error with CodeUnsupported.
func (*Router) Attach(context.Context, string, isolde.Network) (*Link, error) {
	return nil, errLinuxOnly
}

// ReportRefusals does nothing.
func (*Router) ReportRefusals(string, string) error { return nil }

// Find finds nothing.
func (*Router) Find(string) (*Link, bool) { return nil, false }

// Links is empty.
func (*Router) Links() []string { return nil }

// Dial returns an error with CodeUnsupported.
func (*Router) Dial(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errLinuxOnly }

// Detach does nothing.
func (*Router) Detach(context.Context, string) error { return nil }

// Close does nothing.
func (*Router) Close() error { return nil }
