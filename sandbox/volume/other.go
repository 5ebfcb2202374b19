//go:build !linux

package volume

import (
	"os"

	"github.com/isolde-run/isolde"
)

// Available is that volumes exist on Linux only.
func Available() error {
	return isolde.Errorf(isolde.CodeUnsupported, "session storage exists on Linux only")
}

// Remove removes a volume's file.
func Remove(file string) error { return os.Remove(file) }
