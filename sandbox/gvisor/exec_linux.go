package gvisor

import (
	"context"
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
)

// Exec implements [sandbox.Execer]. It costs a runsc process for as long as
// the command runs.
func (s *Sandbox) Exec(ctx context.Context, cmd sandbox.Command) (exitCode int, err error) {
	if s.stopping.Load() {
		return -1, fmt.Errorf("exec: sandbox %s is stopped: %w", s.record.ID, net.ErrClosed)
	}
	if len(cmd.Args) == 0 {
		return -1, isolde.Errorf(isolde.CodeInvalid, "there is no command to execute")
	}
	dir, err := os.MkdirTemp(s.dir, "exec-")
	if err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := s.writeProcess(dir, cmd); err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	errorPath, inside := filepath.Join(dir, errorFile), filepath.Join(dir, pidFile)
	run := s.driver.runsc.command(s.dir, "--log="+errorPath, "exec",
		"-process="+filepath.Join(dir, "process.json"), "-internal-pid-file="+inside, containerID)
	run.Stdout, run.Stderr = cmd.Stdout, cmd.Stderr
	// A command that left a child with its output behind is not waited for.
	run.WaitDelay = 2 * time.Second
	if err := run.Start(); err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		// runsc ends when the command has; nothing kills the command if runsc
		// is killed.
		if !s.killInside(inside) {
			_ = run.Process.Kill()
		}
	})
	defer stop()
	err = run.Wait()
	switch message := lastError(errorPath); {
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

// writeProcess writes what runsc reads: the agent's process with another
// command.
func (s *Sandbox) writeProcess(dir string, cmd sandbox.Command) error {
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
	if cmd.Dir != "" {
		p.Cwd = cmd.Dir
	}
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
// does. It gives up when the sandbox ends or runsc does not get that far.
func (s *Sandbox) killInside(file string) (killed bool) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && !s.hasEnded(); time.Sleep(5 * time.Millisecond) {
		pid := readString(file)
		if pid == "" {
			if _, err := os.Stat(filepath.Dir(file)); err != nil {
				return true // Exec has returned
			}
			continue
		}
		return s.driver.runsc.command(s.dir, "kill", "-pid="+pid, containerID, "KILL").Run() == nil
	}
	return false
}

func (s *Sandbox) hasEnded() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
