package gvisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/sandbox"
)

// Sandbox is an agent on its own gVisor kernel. See [sandbox.Sandbox].
type Sandbox struct {
	driver *Driver
	dir    string
	record record
	addr   netip.Addr
	pidfd  *os.File // what the watch waits for; owned by it

	conns    connections
	killed   atomic.Bool // this driver sent SIGKILL
	stopping atomic.Bool
	execs    sync.RWMutex // read-locked by commands that run
	ending   sync.Once
	done     chan struct{} // closed when exit is set
	exit     sandbox.Exit

	stop    sync.Once
	stopErr error // set by stop
}

var past = time.Unix(1, 0)

// ID implements [sandbox.Sandbox].
func (s *Sandbox) ID() sandbox.ID { return s.record.ID }

// Labels implements [sandbox.Sandbox].
func (s *Sandbox) Labels() map[string]string { return s.record.Labels }

// Done implements [sandbox.Sandbox].
func (s *Sandbox) Done() <-chan struct{} { return s.done }

// Exit implements [sandbox.Sandbox].
func (s *Sandbox) Exit() sandbox.Exit {
	select {
	case <-s.done:
		return s.exit
	default:
		return sandbox.Exit{}
	}
}

// end notes how the process ended, which it has.
func (s *Sandbox) end() {
	s.ending.Do(func() {
		code := -1
		// One that is not reaped keeps its number; any other may be that of
		// another child by now.
		if s.record.Process.exists() {
			code = reap(s.record.Process.PID)
		}
		switch {
		case code != 0 && s.record.Group.ranOutOfMemory() && !s.killed.Load():
			s.exit = sandbox.Exit{Code: 137, Reason: sandbox.ExitedNoMemory}
		case code != 0 && s.record.Group.ranOutOfTasks() && !s.killed.Load():
			// gVisor's kernel gives up when it gets no thread.
			s.exit = sandbox.Exit{Code: code, Reason: sandbox.ExitedNoTasks}
		case s.killed.Load() || code == 128+int(unix.SIGKILL):
			s.exit = sandbox.Exit{Code: code, Reason: sandbox.ExitedKilled}
		default:
			s.exit = sandbox.Exit{Code: code, Reason: sandbox.ExitedItself}
		}
		close(s.done)
		s.conns.end()
	})
}

// Dial implements [sandbox.Sandbox].
func (s *Sandbox) Dial(ctx context.Context, port int) (net.Conn, error) {
	to := netip.AddrPortFrom(s.addr, uint16(port))
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	if s.stopping.Load() {
		return fail(net.ErrClosed)
	}
	// Nobody answers for a sandbox that has ended, not even with a refusal.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-s.done:
			cancel(unix.ECONNREFUSED)
		case <-ended:
		}
	}()
	select {
	case <-s.done:
		return fail(unix.ECONNREFUSED)
	default:
	}
	conn, err := s.driver.router.Dial(ctx, to)
	if err != nil {
		switch {
		case s.stopping.Load():
			return fail(net.ErrClosed)
		case errors.Is(context.Cause(ctx), unix.ECONNREFUSED):
			return fail(unix.ECONNREFUSED)
		}
		return nil, err
	}
	return s.conns.add(conn.(*net.TCPConn)), nil
}

// Stats implements [sandbox.Sandbox].
func (s *Sandbox) Stats(context.Context) (sandbox.Stats, error) {
	if s.stopping.Load() {
		return sandbox.Stats{}, nil
	}
	cpu, memory, tasks := s.record.Group.usage()
	return sandbox.Stats{CPU: cpu, MemoryBytes: max(0, memory), Tasks: tasks}, nil
}

// Stop implements [sandbox.Sandbox].
func (s *Sandbox) Stop(ctx context.Context, grace time.Duration) error {
	s.stop.Do(func() {
		s.stopping.Store(true)
		if grace > 0 {
			s.askToEnd(ctx, grace)
		}
		s.stopErr = s.takeAway()
	})
	return s.stopErr
}

// askToEnd sends SIGTERM and waits. The sandbox passes it to the agent.
func (s *Sandbox) askToEnd(ctx context.Context, grace time.Duration) {
	pidfd, err := s.record.Process.open()
	if err != nil {
		return
	}
	defer pidfd.Close()
	if err := signalTo(pidfd, unix.SIGTERM); err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = pidfd.SetReadDeadline(past) })
	defer stop()
	_ = pidfd.SetReadDeadline(time.Now().Add(grace))
	if ctx.Err() != nil {
		return
	}
	_ = await(pidfd) // or the grace is over
}

// takeAway kills what runs and removes everything the driver made.
// Idempotent.
func (s *Sandbox) takeAway() error {
	s.stopping.Store(true)
	if s.record.Process.alive() {
		s.killed.Store(true)
	}
	var errs []error
	if err := s.record.Group.kill(s.record.Process.PID); err != nil {
		errs = append(errs, fmt.Errorf("kill: %w", err))
	}
	// The watch may have ended with its driver, and a start that failed never
	// had one.
	if pidfd, err := s.record.Process.open(); err == nil {
		_ = pidfd.SetReadDeadline(time.Now().Add(patience))
		_ = await(pidfd)
		pidfd.Close()
	}
	s.end()
	if s.record.Gofer.exists() { // it may have ended before it could be killed
		reap(s.record.Gofer.PID)
	}
	if err := s.driver.router.Detach(context.Background(), string(s.record.ID)); err != nil {
		errs = append(errs, err)
	}
	if err := s.record.Group.remove(); err != nil {
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil {
		s.execs.Lock() // commands end with the sandbox
		defer s.execs.Unlock()
		// The record goes last: a later server tries again.
		err = os.RemoveAll(s.dir)
	}
	if err != nil {
		return fmt.Errorf("stop sandbox %s: %w", s.record.ID, err)
	}
	return nil
}
