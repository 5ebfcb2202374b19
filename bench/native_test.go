//go:build linux

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/network"
)

// links makes network links that no session has, for what runs without a
// server.
type links struct {
	b      *testing.B
	router *network.Router
	made   int
}

func openLinks(b *testing.B) *links {
	b.Helper()
	router, err := network.Open(b.Context(), network.Config{
		Name: fmt.Sprintf("bench-%d", os.Getpid()), Dir: filepath.Join(tempDir(b), "net"),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := router.Close(); err != nil {
			b.Error(err)
		}
	})
	return &links{b: b, router: router}
}

// attach makes a link, for one start: what runsc was given is used up.
func (l *links) attach() *network.Link {
	l.b.Helper()
	l.made++
	link, err := l.router.Attach(l.b.Context(), fmt.Sprintf("bench%d", l.made), isolde.Network{Egress: isolde.EgressNone})
	if err != nil {
		l.b.Fatal(err)
	}
	return link
}

func (l *links) detach(link *network.Link) {
	l.b.Helper()
	if err := l.router.Detach(l.b.Context(), link.ID); err != nil {
		l.b.Fatal(err)
	}
}

// agentPort is where the agents listen.
func agentPort(link *network.Link) netip.AddrPort { return netip.AddrPortFrom(link.Addr, 8080) }

// inNamespace runs f on a thread in a network namespace; what f starts is in
// it. The thread ends with f.
func inNamespace(path string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			ns, err := os.Open(path)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}

// program is an agent as the process driver runs it: the same interpreter,
// files and environment.
type program struct {
	pid  int // of the one it was copied from
	argv []string
	env  []string
	dir  string
}

// findProgram finds the process of a session of the process driver.
func findProgram(b *testing.B, s *server, sandbox string) program {
	b.Helper()
	work := filepath.Join(s.dir, "sandboxes", "process", sandbox, "work")
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for _, proc := range all {
		if cwd, err := os.Readlink(filepath.Join(proc, "cwd")); err != nil || cwd != work {
			continue
		}
		pid, err1 := strconv.Atoi(filepath.Base(proc))
		argv, err2 := readStrings(filepath.Join(proc, "cmdline"))
		env, err3 := readStrings(filepath.Join(proc, "environ"))
		exe, err4 := os.Readlink(filepath.Join(proc, "exe"))
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			b.Fatal(err)
		}
		if !strings.Contains(argv[0], "/") {
			argv[0] = exe
		}
		return program{pid: pid, argv: argv, env: env, dir: work}
	}
	b.Fatalf("no process runs in %s", work)
	return program{}
}

// readStrings reads a file of /proc whose strings end with a NUL.
func readStrings(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), err
}

// start runs the program without a sandbox, but for a network of its own, and
// returns how long its first healthy ping took.
func (p program) start(l *links) time.Duration {
	l.b.Helper()
	link := l.attach()
	defer l.detach(link)
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	t0 := time.Now()
	if err := inNamespace(link.Path, cmd.Start); err != nil {
		l.b.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() {
		defer close(exited)
		exited <- cmd.Wait()
	}()
	defer func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			l.b.Error(err)
		}
		for range exited { // until it is reaped
		}
	}()
	awaitPing(l.b, l.router, link, func() error {
		select {
		case err := <-exited:
			return fmt.Errorf("%q ended: %w", p.argv, err)
		default:
			return nil
		}
	})
	return time.Since(t0)
}
