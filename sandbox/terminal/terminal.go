// Package terminal gives the commands that drivers run as processes of the
// host their standard streams: those of a [sandbox.Command], or a
// pseudo-terminal where it has one.
package terminal

import (
	"os/exec"

	"github.com/isolde-run/isolde/sandbox"
)

// Streams are the standard streams of a process.
type Streams struct {
	process *exec.Cmd
	pty     *pty // nil: there is no terminal
}

// Attach gives a process that has not started the streams of a command. It is
// to start in a session of its own (SysProcAttr.Setsid). After that call Wait,
// or Close if it does not start. On a terminal nothing is typed, and its size
// does not change, before ready is closed. Errors: CodeUnsupported where there
// are no pseudo-terminals.
func Attach(process *exec.Cmd, cmd sandbox.Command, ready <-chan struct{}) (*Streams, error) {
	if cmd.Terminal == nil {
		process.Stdin, process.Stdout, process.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
		return &Streams{process: process}, nil
	}
	p, err := openPTY(*cmd.Terminal, cmd.Stdout, ready)
	if err != nil {
		return nil, err
	}
	p.attach(process)
	return &Streams{process, p}, nil
}

// Wait is the Wait of the process, which has started: it returns when the
// process has ended and its output was taken, or no longer comes.
func (s *Streams) Wait() error {
	if s.pty == nil {
		return s.process.Wait()
	}
	s.pty.carry()
	defer s.pty.close()
	err := s.process.Wait()
	s.pty.finish(s.process.WaitDelay)
	return err
}

// Close gives up the streams of a process that did not start.
func (s *Streams) Close() {
	if s.pty != nil {
		s.pty.close()
	}
}
