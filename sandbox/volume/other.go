//go:build !linux

package volume

import "github.com/isolde-run/isolde"

// Available is that volumes exist on Linux only.
func Available() error {
	return isolde.Errorf(isolde.CodeUnsupported, "session storage exists on Linux only")
}
