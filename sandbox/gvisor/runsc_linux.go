package gvisor

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// FindRunsc returns the absolute path of a runsc: the one named, if any; else
// the one beside this executable; else the one on PATH. The error has
// CodeUnsupported and a hint.
func FindRunsc(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", isolde.Errorf(isolde.CodeUnsupported, "runsc %q cannot be executed: %w", named, err).
				WithHint("make bin/runsc builds it")
		}
		return checkedRunsc(path)
	}
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), "runsc")); err == nil {
			return checkedRunsc(path)
		}
	}
	if path, err := exec.LookPath("runsc"); err == nil {
		return checkedRunsc(path)
	}
	return "", isolde.Errorf(isolde.CodeUnsupported, "there is no runsc beside the isolde executable or on PATH").
		WithHint("make bin/runsc builds it")
}

// checkedRunsc refuses a runsc that cannot work.
func checkedRunsc(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if interpreted(path) {
		// It starts itself again where no shared library can be found.
		return "", isolde.Errorf(isolde.CodeUnsupported, "runsc %s is linked dynamically, and so cannot run in its own sandbox", path).
			WithHint("make bin/runsc builds a static one (CGO_ENABLED=0)")
	}
	return path, nil
}

// interpreted says whether an executable needs the dynamic linker.
func interpreted(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false // not ours to judge: perhaps a script around runsc
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// runsc runs the executable on one sandbox's folder.
type runsc struct {
	path  string
	debug bool
}

// args are the global flags, then the command.
func (r runsc) args(dir string, command ...string) []string {
	args := []string{
		"--root=" + filepath.Join(dir, stateDir),
		"--log-format=json",
		"--platform=systrap",
		"--network=sandbox",
		"--host-uds=none",
		"--host-fifo=none",
		"--host-settings=ignore",
		"--file-access-mounts=exclusive",
		"--allow-rootfs-tar-annotation",
	}
	if r.debug {
		args = append(args, "--debug", "--debug-log="+filepath.Join(dir, debugDir)+"/")
	}
	return append(args, command...)
}

// command is runsc on a sandbox's folder, out of reach of the terminal's
// signals.
func (r runsc) command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(r.path, r.args(dir, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// run starts the agent of a bundle and returns once it runs. What the agent
// prints goes to output, which is no pipe: the sandbox holds it for as long as
// it lives. The caller must have called [adopt], and must kill the group when
// run fails.
func (r runsc) run(ctx context.Context, dir string, output *os.File, spec sandbox.Spec) error {
	// The signal that follows the death of the parent follows that of its
	// thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	errorPath := filepath.Join(dir, errorFile)
	cmd := r.command(dir, "--log="+errorPath, "run", "-detach",
		"-bundle="+filepath.Join(dir, bundleDir), "-pid-file="+filepath.Join(dir, pidFile), containerID)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return isolde.Errorf(isolde.CodeUnsupported, "runsc cannot be executed: %w", err).WithHint("make bin/runsc builds it")
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err := cmd.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("start sandbox: %w", errors.Join(ctx.Err(), context.Cause(ctx)))
	}
	if err != nil {
		return executeError(lastError(errorPath), strings.Join(spec.Command, " "))
	}
	return nil
}

// executeError tells faults of a command from those of the machine, by the
// message of runsc's.
func executeError(message, command string) error {
	cause := errors.New(message)
	switch {
	case strings.Contains(message, "failed to load"), strings.Contains(message, "error finding executable"):
		return isolde.Errorf(isolde.CodeAgent, "cannot execute %q: %s", command, lastPart(message)).
			WithHint("the command must be an executable in the image").WithCause(errors.Join(sandbox.ErrNotExecutable, cause))
	case message == "":
		return errors.New("runsc failed without a message")
	default:
		return fmt.Errorf("runsc: %w", cause)
	}
}

// lastPart is what follows the last ": ".
func lastPart(message string) string {
	return message[strings.LastIndex(message, ": ")+len(": "):]
}

// lastError is the last error in a log of runsc's.
func lastError(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	last := ""
	for entries := json.NewDecoder(f); ; {
		var entry struct{ Msg, Level string }
		if entries.Decode(&entry) != nil {
			return last
		}
		if entry.Level == "error" {
			last = entry.Msg
		}
	}
}
