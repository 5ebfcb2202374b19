package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/terminal"
)

// outputDelay is how long output is still read after a command ended whose
// children hold on to it.
const outputDelay = time.Second

// atOnce is ready: a command's terminal can be used as soon as it has started.
var atOnce = func() <-chan struct{} {
	ready := make(chan struct{})
	close(ready)
	return ready
}()

// Exec runs a command in the agent's namespaces, folder and environment.
func (s *instance) Exec(ctx context.Context, cmd sandbox.Command) (int, error) {
	if err := s.running(); err != nil {
		return -1, err
	}
	mark := sandbox.CommandVariable + "=" + rand.Text()
	env, dir := merge(s.record.Env, cmd.Env, []string{mark}), s.record.Dir
	if cmd.Dir != "" {
		dir = absolute(cmd.Dir, dir)
	}
	path, err := lookUp(cmd.Args, env, dir)
	if err != nil {
		return -1, notFound(cmd.Args, err)
	}
	run := exec.CommandContext(ctx, path)
	run.Args, run.Env, run.Dir = cmd.Args, env, dir
	run.WaitDelay = outputDelay
	run.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	run.Cancel = func() error { return killCommand(run.Process.Pid, mark) }
	streams, err := terminal.Attach(run, cmd, atOnce)
	if err != nil {
		return -1, err
	}
	if err := s.inside(run.Start); err != nil {
		streams.Close()
		if ctx.Err() != nil {
			return -1, context.Cause(ctx)
		}
		return -1, notFound(cmd.Args, err)
	}
	err = streams.Wait()
	if ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, fmt.Errorf("run %q: %w", first(cmd.Args), err)
	}
	status := run.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

func (s *instance) running() error {
	select {
	case <-s.done:
		return isolde.Errorf(isolde.CodeConflict, "sandbox %s has ended", s.record.ID)
	default:
		return nil
	}
}

func notFound(argv []string, err error) error {
	return isolde.Errorf(isolde.CodeInvalid, "command %q cannot be executed: %w", first(argv), err).
		WithCause(errors.Join(sandbox.ErrNotExecutable, err))
}
