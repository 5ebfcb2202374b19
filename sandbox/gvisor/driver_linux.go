package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
)

// Driver starts sandboxes with runsc. See [sandbox.Driver].
type Driver struct {
	cfg    Config
	log    *slog.Logger
	runsc  runsc
	router *network.Router
	groups hierarchy
	memory int64 // bytes the machine has

	mu      sync.Mutex
	closed  bool
	running map[*Sandbox]struct{} // watched until Close
	watches sync.WaitGroup
}

// Open opens the driver on its state folder, which it makes. It starts
// nothing. The error has CodeUnsupported and a hint when runsc is missing or
// the machine has no control groups that could hold a limit.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if os.Geteuid() != 0 {
		return nil, isolde.Errorf(isolde.CodeUnsupported, "driver gvisor needs root").WithHint("sudo isolde serve, or --driver process")
	}
	path, err := FindRunsc(cfg.Runsc)
	if err != nil {
		return nil, err
	}
	if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("open driver gvisor: %w", err)
	}
	if len(cfg.StateDir) > 80 {
		return nil, isolde.Errorf(isolde.CodeInvalid, "the state folder %s has a path of %d bytes; driver gvisor needs one of at most 80", cfg.StateDir, len(cfg.StateDir)).
			WithHint("choose a shorter --data-dir")
	}
	groups, err := openHierarchy()
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeUnsupported, "driver gvisor cannot limit sandboxes: %w", err).
			WithHint("it needs the control group controllers cpu, memory and pids; in a container: docker run --privileged --cgroupns=host")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o711); err != nil {
		return nil, fmt.Errorf("open driver gvisor: %w", err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, fmt.Errorf("open driver gvisor: %w", err)
	}
	return &Driver{
		cfg: cfg, log: cfg.Logger, runsc: runsc{path: path, debug: cfg.Debug}, router: cfg.Router, groups: groups,
		memory: int64(info.Totalram) * int64(info.Unit), running: map[*Sandbox]struct{}{},
	}, ctx.Err()
}

// Name is "gvisor".
func (d *Driver) Name() string { return Name }

// Capabilities implements [sandbox.Driver].
func (d *Driver) Capabilities() sandbox.Capabilities { return capabilities() }

// record is what a new server must know to find a sandbox again. It is there
// before anything else of the sandbox is, and once more when the agent runs.
type record struct {
	ID      sandbox.ID
	Labels  map[string]string
	Group   group
	Process identity // of the sandbox; zero until it runs
	Gofer   identity // of the process that opens mounted files for it; zero without mounts
}

func (r record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Start implements [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (_ sandbox.Sandbox, err error) {
	if err := check(spec); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("start sandbox: %w", errors.Join(ctx.Err(), context.Cause(ctx)))
	}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, isolde.Errorf(isolde.CodeUnavailable, "driver gvisor is closed")
	}
	s := &Sandbox{
		driver: d, dir: filepath.Join(d.cfg.StateDir, string(spec.ID)), done: make(chan struct{}),
		record: record{ID: spec.ID, Labels: spec.Labels, Group: d.groups.groupOf(string(spec.ID))},
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.takeAway())
		}
	}()
	if err := s.record.write(s.dir); err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	if err := d.launch(ctx, s, spec); err != nil {
		return nil, err
	}
	if err := d.watch(s); err != nil {
		return nil, err
	}
	return s, nil
}

// launch makes everything a sandbox needs and starts it.
func (d *Driver) launch(ctx context.Context, s *Sandbox, spec sandbox.Spec) error {
	link, err := d.router.Attach(ctx, string(spec.ID), spec.Network)
	if err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	s.addr = link.Addr
	if err := d.router.ReportRefusals(link.ID, spec.LogFile); err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	if err := s.record.Group.create(d.limits(spec.Resources)); err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	if err := writeBundle(s.dir, spec, link); err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	output, err := os.OpenFile(spec.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	defer output.Close()
	release, err := adopt()
	if err != nil {
		return err
	}
	defer release()
	run := func() error { return d.runsc.run(ctx, s.dir, output, spec) }
	if mounts := mountsOf(s.dir, spec); len(mounts) > 0 {
		err = withMounts(ctx, mounts, run)
	} else {
		err = run()
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(readString(filepath.Join(s.dir, pidFile)))
	if err != nil {
		return fmt.Errorf("start sandbox: read its process id: %w", err)
	}
	// As a child of this process it cannot be gone before it is reaped.
	if s.record.Process, err = identify(pid); err != nil {
		return fmt.Errorf("start sandbox: find its process: %w", err)
	}
	if len(spec.Volumes)+len(spec.Mounts) > 0 {
		s.record.Gofer = findGofer(s.dir)
	}
	if err := s.record.write(s.dir); err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	return ctx.Err()
}

// limits are what the group gets: never more than the machine has.
func (d *Driver) limits(r isolde.Resources) limits {
	r = r.WithDefaults()
	return limits{
		cpus:   min(r.CPUs, float64(runtime.NumCPU())),
		memory: min(r.MemoryBytes, d.memory),
		tasks:  r.Processes,
	}
}

// check refuses specs that this driver cannot start.
func check(spec sandbox.Spec) error {
	switch {
	case spec.Root.Image == "":
		return isolde.Errorf(isolde.CodeUnsupported, "driver gvisor starts from an EROFS image, and there is none")
	case len(spec.Command) == 0 || spec.Command[0] == "":
		return isolde.Errorf(isolde.CodeAgent, "the agent has no command")
	case spec.ID == "" || strings.ContainsAny(string(spec.ID), "/."):
		return fmt.Errorf("start sandbox: id %q cannot name a folder", spec.ID)
	}
	if _, err := os.Stat(spec.Root.Image); err != nil {
		return fmt.Errorf("start sandbox: open root image: %w", err)
	}
	return nil
}

// watch follows the sandbox's process until it ends or the driver is closed.
func (d *Driver) watch(s *Sandbox) error {
	pidfd, err := s.record.Process.open()
	if err != nil {
		return fmt.Errorf("watch sandbox: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		pidfd.Close()
		return isolde.Errorf(isolde.CodeUnavailable, "driver gvisor is closed")
	}
	s.pidfd = pidfd
	d.running[s] = struct{}{}
	d.watches.Go(func() {
		defer pidfd.Close()
		if await(pidfd) == nil {
			s.end()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.running, s)
	})
	return nil
}

// Recover implements [sandbox.Driver].
func (d *Driver) Recover(ctx context.Context) ([]sandbox.Sandbox, error) {
	entries, err := os.ReadDir(d.cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("recover sandboxes: %w", err)
	}
	var found []sandbox.Sandbox
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		s := &Sandbox{driver: d, dir: filepath.Join(d.cfg.StateDir, e.Name()), done: make(chan struct{})}
		b, err := os.ReadFile(filepath.Join(s.dir, recordFile))
		if err == nil {
			err = json.Unmarshal(b, &s.record)
		}
		if err != nil || string(s.record.ID) != e.Name() {
			// The server died before it wrote the record, and so made nothing
			// else.
			s.record = record{ID: sandbox.ID(e.Name()), Group: d.groups.groupOf(e.Name())}
		}
		link, linked := d.router.Find(e.Name())
		if linked && s.record.Process.alive() {
			s.addr = link.Addr
			if err := d.watch(s); err == nil {
				found = append(found, s)
				continue
			}
		}
		if err := s.takeAway(); err != nil {
			d.log.Warn("could not take away what is left of a sandbox", "sandbox", e.Name(), "err", err)
		}
	}
	return found, nil
}

// Close implements [sandbox.Driver].
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	for s := range d.running {
		_ = s.pidfd.SetReadDeadline(past)
	}
	d.mu.Unlock()
	d.watches.Wait()
	return nil
}
