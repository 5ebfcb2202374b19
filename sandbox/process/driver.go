// Package process is the driver that isolates nothing: an agent is a process
// of the server's own user, on the host's files, with the host's interpreter.
// It is for laptops and for debugging, and a server refuses it beyond
// loopback.
//
// What it does give, as far as the host allows:
//
//   - Each sandbox has a copy of the agent's code as its working directory, a
//     TMPDIR of its own, and a HOME of its own unless the HostRoot names one.
//     All of it goes with the sandbox.
//   - With a router (root on Linux): a network of its own, so that many agents
//     can listen on the same port.
//   - As root on Linux: volumes and mounts, below /mnt of a mount namespace.
//   - As root on Linux: a process namespace of its own, with a /proc to match.
//     Its first process is a shell that reaps orphans; when it is killed, the
//     kernel kills whatever the agent forked.
//
// Without a router one sandbox runs at a time, on the agent's port of the
// host, and DOCKER_CONTAINER is taken out of its environment, so that agents
// of the official SDK listen on loopback only. Without namespaces, children
// of an agent are found by their session or by TMPDIR in their environment;
// a child that left the session and changed TMPDIR is not caught. On other
// systems than Linux, children are caught as long as they stay in the agent's
// process group.
//
// Spec.UID, GID, Dir, Command and Resources have no meaning here.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/volume"
)

// Name is the driver's name.
const Name = "process"

// Config is what a driver needs.
type Config struct {
	StateDir string          // a folder of this driver's own, which no other has open; made if missing
	Router   *network.Router // nil: agents use the host's network. It stays the caller's, who closes it after the driver
	Logger   *slog.Logger    // nil: no logs
}

// Driver starts agents as processes of the host.
type Driver struct {
	cfg        Config
	log        *slog.Logger
	namespaces bool // sandboxes have a process namespace

	watchers sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	sandboxes map[sandbox.ID]*instance // nil while it starts
}

var _ sandbox.Driver = (*Driver)(nil)

// Open prepares the driver.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	return open(ctx, cfg, probeNamespaces() == nil)
}

func open(_ context.Context, cfg Config, namespaces bool) (*Driver, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("open process driver: %w", err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("open process driver: %w", err)
	}
	return &Driver{
		cfg:        cfg,
		log:        cfg.Logger.With("driver", Name),
		namespaces: namespaces,
		sandboxes:  make(map[sandbox.ID]*instance),
	}, nil
}

// Name is "process".
func (d *Driver) Name() string { return Name }

// Capabilities tell of no isolation, and of one sandbox at a time without a
// router.
func (d *Driver) Capabilities() sandbox.Capabilities {
	c := sandbox.Capabilities{Isolation: isolation(d.cfg.Router != nil), OwnNetwork: d.cfg.Router != nil}
	if d.cfg.Router == nil {
		c.MaxSandboxes = 1
	}
	c.Volumes = volume.Available()
	if !d.namespaces {
		c.Mounts = isolde.Errorf(isolde.CodeUnsupported, "folders can be mounted for an agent only where it has a process namespace of its own").
			WithHint("isolde doctor tells why it has none here")
		c.Volumes = c.Mounts
	}
	return c
}

func isolation(ownNetwork bool) string {
	if ownNetwork {
		return "none but a network of its own: the agent runs as the server's user and can read and change its files"
	}
	return "none: the agent runs as the server's user, can read and change its files, and uses the host's network"
}

// Fingerprint says what the driver can give on this machine.
func Fingerprint(context.Context) sandbox.Fingerprint {
	f := sandbox.Fingerprint{Driver: Name, Available: true, Isolation: isolation(false)}
	if err := network.Probe(); err == nil {
		f.Isolation = isolation(true)
		f.Details = append(f.Details, sandbox.Detail{Name: "network", Value: "one for each session"})
	} else {
		f.Reason = "one session at a time, on the agent's port of this host: " + isolde.AsError(err).Message
		f.Hint = isolde.AsError(err).Hint
		f.Details = append(f.Details, sandbox.Detail{Name: "network", Value: "the host's"})
	}
	processes := "a namespace for each session"
	if err := probeNamespaces(); err != nil {
		processes = "the host's, so that children that hide may be left: " + isolde.AsError(err).Message
	}
	f.Details = append(f.Details, sandbox.Detail{Name: "processes", Value: processes}, sandbox.Detail{Name: "session storage", Value: volume.Describe()})
	return f
}

// reserve takes the place of a sandbox that is about to start.
func (d *Driver) reserve(spec sandbox.Spec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if _, taken := d.sandboxes[spec.ID]; taken {
		return isolde.Errorf(isolde.CodeConflict, "there is a sandbox %s already", spec.ID)
	}
	if d.cfg.Router == nil && len(d.sandboxes) > 0 {
		return isolde.Errorf(isolde.CodeQuota, "the process driver runs one session at a time here, since agents share the host's port %d", firstPort(spec.Ports)).
			WithHint("stop the other session with isolde session stop --all, or run the server as root: each session has a network of its own then")
	}
	d.sandboxes[spec.ID] = nil
	return nil
}

func (d *Driver) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func (d *Driver) release(id sandbox.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sandboxes, id)
}

// adopt makes a running sandbox one of the driver's and watches it.
func (d *Driver) adopt(s *instance) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	d.sandboxes[s.record.ID] = s
	s.watched = true
	s.watch(&d.watchers)
	return nil
}

var errClosed = isolde.Errorf(isolde.CodeUnavailable, "the process driver is closed")

// Close lets go of the sandboxes, which run on.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	for _, s := range d.sandboxes {
		if s != nil {
			s.letGo()
		}
	}
	d.mu.Unlock()
	d.watchers.Wait()
	return nil
}

func firstPort(ports []int) int {
	if len(ports) == 0 {
		return 0
	}
	return ports[0]
}
