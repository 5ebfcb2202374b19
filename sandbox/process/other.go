//go:build !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// handle is a process, known by its number and the time it started.
type handle struct {
	identity
	child  bool
	closed chan struct{}
}

// pollInterval is how often processes are looked at, for want of something
// to wait on.
const pollInterval = 50 * time.Millisecond

// start starts a process in a session of its own.
func (c command) start(uintptr, func(func() error) error) (*handle, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(c.path, c.argv, &syscall.ProcAttr{
		Dir: c.dir, Env: c.env,
		Files: []uintptr{null.Fd(), c.output.Fd(), c.output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, err
	}
	return &handle{identity: identity{PID: pid, Start: startTime(pid)}, child: true, closed: make(chan struct{})}, nil
}

// openHandle finds a process again. os.ErrProcessDone when it has ended.
func openHandle(id identity) (*handle, error) {
	if start := startTime(id.PID); start == "" || start != id.Start {
		return nil, os.ErrProcessDone
	}
	return &handle{identity: id, closed: make(chan struct{})}, nil
}

// wait returns when the process has ended: with its status if it is a child,
// with ECHILD if not, with os.ErrClosed once the handle is closed.
func (h *handle) wait() (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		if h.child {
			pid, err := syscall.Wait4(h.PID, &status, syscall.WNOHANG, nil)
			if pid == h.PID || err != nil && !errors.Is(err, syscall.EINTR) {
				return status, err
			}
		} else if syscall.Kill(h.PID, 0) != nil {
			return 0, syscall.ECHILD
		}
		select {
		case <-h.closed:
			return 0, os.ErrClosed
		case <-time.After(pollInterval):
		}
	}
}

// signal sends a signal. os.ErrProcessDone when the process has ended.
func (h *handle) signal(sig syscall.Signal) error {
	if h == nil || syscall.Kill(h.PID, sig) != nil {
		return os.ErrProcessDone
	}
	return nil
}

// awaitEnd waits for the end of a killed process and reaps it.
func (h *handle) awaitEnd() error {
	if h != nil {
		h.wait()
	}
	return nil
}

// close lets go of the process.
func (h *handle) close() {
	if h == nil {
		return
	}
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
}

// inside runs f: there are no namespaces.
func (*instance) inside(f func() error) error { return f() }

// killAll kills the agent's process group.
func (s *instance) killAll() error {
	if s.agent == nil {
		return nil
	}
	syscall.Kill(-s.agent.PID, syscall.SIGKILL)
	return s.awaitAgent()
}

// killCommand kills a command's process group.
func killCommand(pid int, _ string) error { return syscall.Kill(-pid, syscall.SIGKILL) }

// measure cannot measure here.
func (s *instance) measure() (sandbox.Stats, error) { return sandbox.Stats{}, nil }

func (s *instance) startInit(context.Context, sandbox.Spec) (*handle, error) {
	return nil, probeNamespaces()
}

func probeNamespaces() error {
	return isolde.Errorf(isolde.CodeUnsupported, "process namespaces exist on Linux only")
}

// startTime is what ps says of it; empty when there is no such process.
func startTime(pid int) string {
	out, _ := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	return strings.TrimSpace(string(out))
}

// bootID is empty: the time in an identity is enough.
func bootID() string { return "" }

func portHolder(port int) string { return fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN", port) }
