package gvisor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/terminal"
)

// Exec implements [sandbox.Execer]. It costs a runsc process for as long as
// the command runs.
func (s *Sandbox) Exec(ctx context.Context, cmd sandbox.Command) (exitCode int, err error) {
	if len(cmd.Args) == 0 {
		return -1, isolde.Errorf(isolde.CodeInvalid, "there is no command to execute")
	}
	// Stop removes the folder once no command works in it.
	s.execs.RLock()
	defer s.execs.RUnlock()
	if s.stopping.Load() {
		return -1, fmt.Errorf("exec: sandbox %s is stopped: %w", s.record.ID, net.ErrClosed)
	}
	mark := sandbox.CommandVariable + "=" + rand.Text()
	run, dir, err := s.prepare(cmd, mark)
	if err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	defer os.RemoveAll(dir)
	ready, done := make(chan struct{}), make(chan struct{})
	defer close(done)
	streams, err := terminal.Attach(run, cmd, ready)
	if err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	if err := run.Start(); err != nil {
		streams.Close()
		return -1, fmt.Errorf("exec: %w", err)
	}
	if cmd.Terminal != nil {
		go awaitForwarding(filepath.Join(dir, pidFile), ready, done)
	}
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		// runsc ends when the command has; nothing kills the command if runsc
		// is killed.
		if !s.killInside(filepath.Join(dir, pidFile), mark) {
			_ = run.Process.Kill()
		}
	})
	err = streams.Wait()
	if !stop() {
		<-killed
	}
	switch message := lastError(filepath.Join(dir, errorFile)); {
	case ctx.Err() != nil:
		return -1, fmt.Errorf("exec: %w", errors.Join(ctx.Err(), context.Cause(ctx)))
	case errors.Is(err, exec.ErrWaitDelay), message == "":
		return run.ProcessState.ExitCode(), nil
	case s.stopping.Load() || s.hasEnded():
		return -1, isolde.Errorf(isolde.CodeAgent, "the sandbox ended while %q ran in it", strings.Join(cmd.Args, " ")).WithCause(errors.New(message))
	default:
		return -1, executeError(message, strings.Join(cmd.Args, " "))
	}
}

// awaitForwarding closes ready when runsc passes signals on to the command on
// its terminal, which is before it writes the file. A ^C that came earlier would
// end runsc, and a change of the window's size would be missed.
func awaitForwarding(file string, ready chan<- struct{}, done <-chan struct{}) {
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for readString(file) == "" {
		select {
		case <-poll.C:
		case <-done:
			return
		}
	}
	close(ready)
}

// prepare makes the runsc command that runs cmd, and the folder of its files.
func (s *Sandbox) prepare(cmd sandbox.Command, mark string) (run *exec.Cmd, dir string, err error) {
	if dir, err = os.MkdirTemp(s.dir, "exec-"); err != nil {
		return nil, "", err
	}
	if err := s.writeProcess(dir, cmd, mark); err != nil {
		os.RemoveAll(dir)
		return nil, "", err
	}
	run = s.driver.runsc.command(s.dir, "--log="+filepath.Join(dir, errorFile), "exec",
		"-process="+filepath.Join(dir, "process.json"), "-internal-pid-file="+filepath.Join(dir, pidFile), containerID)
	// A command that left a child with its output behind is not waited for.
	run.WaitDelay = 2 * time.Second
	return run, dir, nil
}

// writeProcess writes what runsc reads: the agent's process with another
// command.
func (s *Sandbox) writeProcess(dir string, cmd sandbox.Command, mark string) error {
	b, err := os.ReadFile(filepath.Join(s.dir, bundleDir, "config.json"))
	if err != nil {
		return err
	}
	var config specs.Spec
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	p := config.Process
	p.Args = cmd.Args
	p.Env = mergeEnv(p.Env, cmd.Env)
	if mark != "" {
		p.Env = mergeEnv(p.Env, []string{mark})
	}
	if cmd.Dir != "" {
		p.Cwd = cmd.Dir
	}
	p.Terminal = cmd.Terminal != nil
	if b, err = json.Marshal(p); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "process.json"), b, 0o600)
}

// mergeEnv adds variables, which win over those of the same name.
func mergeEnv(env, more []string) []string {
	var merged []string
	for i, kv := range append(append([]string{}, env...), more...) {
		name, _, _ := strings.Cut(kv, "=")
		replaced := i < len(env) && hasVariable(more, name)
		if !replaced {
			merged = append(merged, kv)
		}
	}
	return merged
}

func hasVariable(env []string, name string) bool {
	for _, kv := range env {
		if strings.HasPrefix(kv, name+"=") {
			return true
		}
	}
	return false
}

// killInside kills the process whose id in the sandbox the file holds, once it
// does, and what it started. It gives up when the sandbox ends or runsc does
// not get that far.
func (s *Sandbox) killInside(file, mark string) (killed bool) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && !s.hasEnded(); time.Sleep(5 * time.Millisecond) {
		pid := readString(file)
		if pid == "" {
			if _, err := os.Stat(filepath.Dir(file)); err != nil {
				return true // Exec has returned
			}
			continue
		}
		killed = s.driver.runsc.command(s.dir, "kill", "-pid="+pid, containerID, "KILL").Run() == nil
		s.sweep(pid, mark)
		return killed
	}
	return false
}

// sweepScript kills the process group $2, then what has $1 in its environment,
// until there is no more of that. runsc itself knows single processes only.
const sweepScript = `kill -9 -- "-$2"
for round in 1 2 3 4 5 6 7 8 9; do
	more=
	for p in /proc/[0-9]*; do
		case "$(cat "$p/environ")" in *"$1"*) kill -9 "${p#/proc/}" && more=1 ;; esac
	done
	[ "$more" ] || exit 0
done`

// sweepTime bounds a sweep, which a sandbox without tasks to spare hangs up.
const sweepTime = 10 * time.Second

// sweep kills what a command left behind, where the image has a shell: without
// one there is no more to a command than one program.
func (s *Sandbox) sweep(pid, mark string) {
	if s.stopping.Load() {
		return
	}
	run, dir, err := s.prepare(sandbox.Command{Args: []string{"/bin/sh", "-c", sweepScript, "sh", mark, pid}}, "")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	timer := time.AfterFunc(sweepTime, func() { _ = run.Process.Kill() })
	defer timer.Stop()
	_ = run.Run() // there may be no shell
}

func (s *Sandbox) hasEnded() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
