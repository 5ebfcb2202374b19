//go:build !linux

package terminal

import (
	"os/exec"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

type pty struct{}

func openPTY(sandbox.Terminal, sandbox.WriteFunc, <-chan struct{}) (*pty, error) {
	return nil, isolde.Errorf(isolde.CodeUnsupported, "commands have no terminals on this system").
		WithHint("isolde session exec runs a command without one; servers on Linux have terminals")
}

func (*pty) attach(*exec.Cmd)     {}
func (*pty) carry()               {}
func (*pty) finish(time.Duration) {}
func (*pty) close()               {}
