package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

var errEnded = errors.New("session ended")

// Bounds of commands, from the service model and the limits page.
const (
	MaxCommand            = 64 << 10          // characters of a command
	MaxCommandOutput      = isolde.MaxPayload // bytes, stdout and stderr together
	DefaultCommandTimeout = 5 * time.Minute
	MaxCommandTimeout     = time.Hour
)

// Command is a command to run in a session's sandbox beside its agent.
type Command struct {
	Request string // request id, for the session's log
	// Shell is a command line for bash, or for sh where there is no bash. Args
	// is a program and its arguments in its place.
	Shell   string
	Args    []string
	Timeout time.Duration // 0: DefaultCommandTimeout
	Stdin   io.Reader     // nil: none; may be in a Read when Run has returned

	// Stdout and Stderr take output as it comes, both on goroutines of their
	// own, and may still be in a call when Run has returned. An error ends the
	// command, and is Run's.
	Stdout, Stderr sandbox.WriteFunc
}

// CommandEnd is how a command ended.
type CommandEnd struct {
	ExitCode int  // 128+n for signal n; -1 when it was killed at its timeout
	TimedOut bool // it did not end in time
}

var errCommandTimeout = errors.New("the command's time is over")

// Run runs a command, which counts as activity for as long as the lease. It
// returns when the command has ended, or was killed with all that it started:
// at its timeout, with ctx, when its output is not taken, or with the session.
// Errors: ctx's cause, an output function's error, CodeAgent when the session
// ended, no such program is there or the image has no shell, CodeUnsupported
// when the driver runs no commands.
func (l *Lease) Run(ctx context.Context, cmd Command) (CommandEnd, error) {
	execer, ok := l.s.box.(sandbox.Execer)
	if !ok {
		return CommandEnd{}, isolde.Errorf(isolde.CodeUnsupported, "sandboxes of the driver %s run no commands", l.s.m.cfg.Driver.Name())
	}
	l.s.log.Append("request " + cmd.Request + ": command " + cmd.text())
	timeout := cmd.Timeout
	if timeout == 0 {
		timeout = DefaultCommandTimeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(timeout, func() { cancel(errCommandTimeout) })
	defer limit.Stop()
	unwatch := context.AfterFunc(l.s.life, func() { cancel(errEnded) })
	defer unwatch()

	code, err := l.s.exec(ctx, execer, cmd, cancel)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCommandTimeout):
		return CommandEnd{ExitCode: -1, TimedOut: true}, nil
	case isClosed(l.s.ending):
		return CommandEnd{}, l.s.cutOff()
	case cause != nil:
		return CommandEnd{}, cause
	case err == nil:
		return CommandEnd{ExitCode: code}, nil
	case isDone(l.s.box):
		select {
		case <-l.s.ending: // the actor learns it in a moment
			return CommandEnd{}, l.s.cutOff()
		case <-l.s.m.actors.Done():
			return CommandEnd{}, errDraining()
		}
	default:
		return CommandEnd{}, err
	}
}

// exec runs the command with the first shell that is there. give ends it when
// its output is not taken.
func (s *session) exec(ctx context.Context, execer sandbox.Execer, cmd Command, give context.CancelCauseFunc) (int, error) {
	out := func(to sandbox.WriteFunc) sandbox.WriteFunc {
		return func(p []byte) error {
			_, err := to.Write(p)
			if err != nil {
				give(err)
			}
			return err
		}
	}
	run := sandbox.Command{Args: cmd.Args, Stdin: cmd.Stdin, Stdout: out(cmd.Stdout), Stderr: out(cmd.Stderr)}
	if len(cmd.Args) > 0 {
		return execer.Exec(ctx, run)
	}
	return withShell(ctx, execer, run, "-c", cmd.Shell)
}

// withShell runs a command with the first shell that is there.
func withShell(ctx context.Context, execer sandbox.Execer, run sandbox.Command, args ...string) (int, error) {
	for _, path := range []string{"/bin/bash", "bash", "/bin/sh"} { // some images have theirs elsewhere on PATH
		run.Args = append([]string{path}, args...)
		code, err := execer.Exec(ctx, run)
		if !errors.Is(err, sandbox.ErrNotExecutable) {
			return code, err
		}
	}
	return -1, errNoShell
}

var errNoShell = isolde.Errorf(isolde.CodeAgent, "the agent's image has neither bash nor sh to run a command with").
	WithHint("isolde session exec runs a program of the image without a shell")

// text is the command as it stands in the log, on one line.
func (c Command) text() string {
	if len(c.Args) > 0 {
		return fmt.Sprintf("%q", c.Args)
	}
	return strconv.Quote(c.Shell)
}
