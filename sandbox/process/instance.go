package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
)

// instance is a sandbox: the agent's process, and what was made for it.
type instance struct {
	driver *Driver
	dir    string // of everything below: work, home, tmp and the record
	record record
	agent  *handle
	init   *handle       // nil without a process namespace
	link   *network.Link // nil without a router

	watched  bool          // somebody reaps the agent; set before others see the instance
	done     chan struct{} // closed when the agent ended
	released chan struct{} // closed by letGo
	once     sync.Once     // of letGo

	stop    sync.Mutex // held by Stop
	stopped bool       // guarded by stop

	mu      sync.Mutex
	exit    sandbox.Exit
	killing bool // Stop has begun: whatever ends the agent now is its doing
	gone    bool // Stop has ended
}

var (
	_ sandbox.Sandbox = (*instance)(nil)
	_ sandbox.Execer  = (*instance)(nil)
)

func newInstance(d *Driver, id sandbox.ID) *instance {
	return &instance{
		driver:   d,
		dir:      filepath.Join(d.cfg.StateDir, string(id)),
		done:     make(chan struct{}),
		released: make(chan struct{}),
	}
}

// ID is the id of the spec.
func (s *instance) ID() sandbox.ID { return s.record.ID }

// Labels are a copy of those of the spec.
func (s *instance) Labels() map[string]string { return maps.Clone(s.record.Labels) }

// Done is closed when the agent's process ended.
func (s *instance) Done() <-chan struct{} { return s.done }

// Exit has Code -1 for an agent that an earlier server started.
func (s *instance) Exit() sandbox.Exit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit
}

// Dial connects through the sandbox's network, or to loopback.
func (s *instance) Dial(ctx context.Context, port int) (net.Conn, error) {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	}
	if s.link != nil {
		return s.driver.cfg.Router.Dial(ctx, netip.AddrPortFrom(s.link.Addr, uint16(port)))
	}
	select {
	case <-s.done: // the port may be another program's by now
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	default:
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// Stats adds up the agent's processes.
func (s *instance) Stats(context.Context) (sandbox.Stats, error) {
	select {
	case <-s.done:
		return sandbox.Stats{}, nil
	default:
		return s.measure()
	}
}

// Stop ends the agent, then everything it forked, then removes its link and
// folder.
func (s *instance) Stop(ctx context.Context, grace time.Duration) error {
	s.stop.Lock()
	defer s.stop.Unlock()
	if s.stopped {
		return nil
	}
	if s.driver.isClosed() {
		return errClosed
	}
	s.mu.Lock()
	s.killing = true
	s.mu.Unlock()
	if grace > 0 {
		s.askToEnd(ctx, grace)
	}
	if err := s.takeAway(s.record.ID); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", s.record.ID, err)
	}
	s.stopped = true
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.driver.release(s.record.ID)
	s.letGo()
	return nil
}

// askToEnd sends SIGTERM and waits until the agent ended, grace is over or
// ctx ends.
func (s *instance) askToEnd(ctx context.Context, grace time.Duration) {
	if s.agent.signal(syscall.SIGTERM) != nil {
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// patience is how long the kernel may take to end killed processes. The last
// one of a sandbox with a volume has that written to the disk first.
const patience = time.Minute

// takeAway kills what runs and removes everything made for the sandbox, as
// far as it is there.
func (s *instance) takeAway(id sandbox.ID) error {
	errs := []error{s.killAll()}
	if s.driver.cfg.Router != nil {
		errs = append(errs, s.driver.cfg.Router.Detach(context.Background(), string(id)))
	}
	// The folder goes last: while it is there, a new server tries again.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return removeTree(s.dir)
}

// awaitAgent waits until a killed agent has ended and was reaped.
func (s *instance) awaitAgent() error {
	if !s.watched {
		return s.agent.awaitEnd()
	}
	select {
	case <-s.done:
		return nil
	case <-s.released:
		return errClosed
	case <-time.After(patience):
		return fmt.Errorf("process %d of the agent does not end", s.record.Agent.PID)
	}
}

// watch closes done when the agent ends. Once letGo was called it returns
// without.
func (s *instance) watch(watchers *sync.WaitGroup) {
	watchers.Go(func() {
		status, err := s.agent.wait()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		s.mu.Lock()
		s.exit = exitOf(status, err, s.killing)
		s.driver.log.Debug("agent ended", "sandbox", s.record.ID, "exit", s.exit)
		s.mu.Unlock()
		close(s.done)
	})
}

func exitOf(status syscall.WaitStatus, err error, killing bool) sandbox.Exit {
	exit := sandbox.Exit{Code: -1, Reason: sandbox.ExitedItself}
	switch {
	case err != nil: // not a child of this server
	case status.Signaled():
		exit.Code = 128 + int(status.Signal())
		switch status.Signal() {
		case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP:
			exit.Reason = sandbox.ExitedKilled
		}
	default:
		exit.Code = status.ExitStatus()
	}
	if killing {
		exit.Reason = sandbox.ExitedKilled
	}
	return exit
}

// letGo closes the handles, and so ends the watcher.
func (s *instance) letGo() {
	s.once.Do(func() { close(s.released) })
	s.agent.close()
	s.init.close()
}

func (s *instance) path(name string) string { return filepath.Join(s.dir, name) }

// marker is the environment variable by which the sandbox's processes are
// found: it is no other's.
func (s *instance) marker() string { return "TMPDIR=" + s.path("tmp") }
