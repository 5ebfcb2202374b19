package gvisor

import (
	"log/slog"
	"sync"

	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/volume"
)

// Name is the driver's name on the command line.
const Name = "gvisor"

// Config says what a driver works with.
type Config struct {
	// StateDir holds a folder for each sandbox. Its absolute path has at most
	// 80 bytes, since runsc keeps a socket in there.
	StateDir string
	// Runsc is the path of the runsc executable. Empty is the one beside this
	// executable, else the one on PATH. See [FindRunsc].
	Runsc string
	// Router makes the links. The driver detaches what it attached and
	// leaves the rest; it does not close the router.
	Router *network.Router
	// Logger may be nil.
	Logger *slog.Logger
	// Debug keeps gVisor's own log in StateDir/<id>/debug while the sandbox
	// exists. Slow.
	Debug bool
}

// isolation is Capabilities.Isolation.
const isolation = "each session runs on a gVisor kernel of its own in user space (systrap), with its own memory, files, processes and network"

var capabilities = sync.OnceValue(func() sandbox.Capabilities {
	return sandbox.Capabilities{Isolation: isolation, Isolated: true, OwnRoot: true, OwnNetwork: true, Volumes: volume.Available()}
})
