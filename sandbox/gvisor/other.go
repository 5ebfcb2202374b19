//go:build !linux

package gvisor

import (
	"context"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Driver exists on Linux only.
type Driver struct{}

var errLinuxOnly = isolde.Errorf(isolde.CodeUnsupported, "driver gvisor runs on Linux only").WithHint("--driver process")

// FindRunsc returns an error with CodeUnsupported.
func FindRunsc(string) (string, error) { return "", errLinuxOnly }

// Open returns an error with CodeUnsupported.
func Open(context.Context, Config) (*Driver, error) { return nil, errLinuxOnly }

// Fingerprint says that the driver runs on Linux only.
func Fingerprint(context.Context, string) sandbox.Fingerprint {
	return sandbox.Fingerprint{Driver: Name, Isolation: isolation, Reason: errLinuxOnly.Message, Hint: errLinuxOnly.Hint}
}

// Name is "gvisor".
func (*Driver) Name() string { return Name }

// Capabilities implements [sandbox.Driver].
func (*Driver) Capabilities() sandbox.Capabilities { return capabilities() }

// Start returns an error with CodeUnsupported.
func (*Driver) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) {
	return nil, errLinuxOnly
}

// Recover finds nothing.
func (*Driver) Recover(context.Context) ([]sandbox.Sandbox, error) { return nil, nil }

// Close does nothing.
func (*Driver) Close() error { return nil }
