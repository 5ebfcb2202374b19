package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Start copies the code and starts the agent. Beside the errors of
// [sandbox.Driver]: CodeConflict when another program has the agent's port.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if spec.Root.Host == nil {
		return nil, isolde.Errorf(isolde.CodeUnsupported, "the process driver cannot run this image: it has a root file system of its own, without a form for the host").
			WithHint("start the server with --driver gvisor")
	}
	if c := d.Capabilities(); len(spec.Volumes) > 0 && c.Volumes != nil || len(spec.Mounts) > 0 && c.Mounts != nil {
		return nil, cmp.Or(c.Mounts, c.Volumes)
	}
	if egress := spec.Network.Egress; d.cfg.Router == nil && egress != "" && egress != isolde.EgressInternet {
		return nil, isolde.Errorf(isolde.CodeUnsupported, "the process driver cannot keep the agent to egress %q here: agents use the host's network", egress).
			WithHint("run the server as root, or set egress to %q", isolde.EgressInternet)
	}
	if err := d.reserve(spec); err != nil {
		return nil, err
	}
	s, err := d.start(ctx, spec)
	if err != nil {
		d.release(spec.ID)
		if ctx.Err() != nil && isolde.CodeOf(err) == isolde.CodeInternal {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	return s, nil
}

// start does the work of Start in an order that a new server can clean up
// after at any point: the folder first, the record of what runs last. Until
// there is a record, everything in the folder is dead.
func (d *Driver) start(ctx context.Context, spec sandbox.Spec) (_ *instance, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d.cfg.Router == nil {
		if err := checkPorts(spec.Ports); err != nil {
			return nil, err
		}
	}
	var undo undoStack
	defer func() {
		if err == nil {
			return
		}
		if undoErr := undo.run(); undoErr != nil {
			d.log.Error("a sandbox that did not start is not gone", "sandbox", spec.ID, "err", undoErr)
		}
	}()
	s := newInstance(d, spec.ID)
	s.record = newRecord(spec, s.dir)
	undo.add(func() error { return removeTree(s.dir) })
	for _, dir := range []string{s.dir, s.path("home"), s.path("tmp")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := copyTree(ctx, s.path("work"), spec.Root.Host.Code); err != nil {
		return nil, fmt.Errorf("copy the agent's code: %w", err)
	}
	if d.cfg.Router != nil {
		undo.add(func() error { return d.cfg.Router.Detach(context.WithoutCancel(ctx), string(spec.ID)) })
		if s.link, err = d.cfg.Router.Attach(ctx, string(spec.ID), spec.Network); err != nil {
			return nil, err
		}
		if err := d.cfg.Router.ReportRefusals(s.link.ID, spec.LogFile); err != nil {
			return nil, err
		}
	} else {
		s.record.Env = slices.DeleteFunc(s.record.Env, func(kv string) bool { return key(kv) == "DOCKER_CONTAINER" })
	}
	undo.add(s.killAll)
	if err := s.startAgent(ctx, spec); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := s.record.write(s.dir); err != nil {
		return nil, err
	}
	return s, d.adopt(s)
}

// startAgent starts the namespace's first process, if there is to be one, and
// the agent's.
func (s *instance) startAgent(ctx context.Context, spec sandbox.Spec) (err error) {
	log, err := os.OpenFile(spec.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	if s.driver.namespaces {
		if s.init, err = s.startInit(ctx, spec); err != nil {
			return fmt.Errorf("make process namespace: %w", err)
		}
		s.record.Init = s.init.identity
	}
	argv := spec.Root.Host.Command
	path, err := lookUp(argv, s.record.Env, s.record.Dir)
	if err == nil {
		s.agent, err = command{path: path, argv: argv, env: s.record.Env, dir: s.record.Dir, output: log}.start(0, s.inside)
	}
	if err != nil {
		return notExecutable(argv, err)
	}
	s.record.Agent = s.agent.identity
	return nil
}

// notExecutable blames the agent for what execve(2) says of its command, and
// nobody else.
func notExecutable(argv []string, err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		switch errno {
		case syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELOOP, syscall.E2BIG, syscall.EISDIR:
			return isolde.Errorf(isolde.CodeAgent, "the agent's command %q cannot be executed: %w", first(argv), errno).
				WithHint("the entry point must be an executable in the agent's folder, or a program on PATH")
		}
	}
	return fmt.Errorf("start the agent's process: %w", err)
}

// checkPorts reports the first port that another program listens on.
func checkPorts(ports []int) error {
	for _, port := range ports {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if errors.Is(err, syscall.EADDRINUSE) {
			return isolde.Errorf(isolde.CodeConflict, "port %d, which the agent needs, is in use by another program", port).
				WithHint("%s names it; stop it, or run the server as root: each session has a network of its own then", portHolder(port)).WithCause(err)
		}
		if err != nil {
			return fmt.Errorf("try port %d: %w", port, err)
		}
		l.Close()
	}
	return nil
}

// undoStack takes half-built things away, the last first.
type undoStack []func() error

func (u *undoStack) add(f func() error) { *u = append(*u, f) }

func (u undoStack) run() error {
	var errs []error
	for _, f := range slices.Backward(u) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func first(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	return argv[0]
}
