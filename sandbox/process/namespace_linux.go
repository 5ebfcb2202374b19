package process

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

const namespaceFlags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS

// initScript is the first process of a namespace: it gives the namespace a
// /proc of its own and the name servers in file $1, says what went wrong or
// that it is ready, and then reaps orphans for ever. A shell does all that,
// and the agent, which is not process 1, keeps the default actions of signals.
// The loop survives kill(-1).
const initScript = `mount --make-rslave / && {
	mount -t proc proc /proc
	[ -z "$1" ] || mount --bind "$1" /etc/resolv.conf
}
echo ready
exec >/dev/null 2>&1
while :; do sleep 2147483647 & wait; done`

// probeNamespaces tries whether this process can make the namespaces.
var probeNamespaces = sync.OnceValue(func() error {
	err := tryNamespaces()
	if err == nil {
		return nil
	}
	e := isolde.Errorf(isolde.CodeUnsupported, "cannot make process namespaces here: %w", err)
	if os.Geteuid() != 0 {
		return e.WithHint("run the server as root: sudo isolde serve")
	}
	return e.WithHint("the server needs CAP_SYS_ADMIN, Linux 5.8, and sh, mount and sleep on PATH")
})

func tryNamespaces() error {
	for _, program := range []string{"sh", "mount", "sleep"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	s := &instance{driver: &Driver{log: slog.New(slog.DiscardHandler)}, dir: os.TempDir()}
	init, err := s.startInit(context.Background(), sandbox.Spec{})
	if err != nil {
		return err
	}
	defer init.close()
	err = init.enter(func() error { return nil })
	return errors.Join(err, init.kill(), init.awaitEnd())
}

// startInit makes the sandbox's namespaces, in the network of its link and
// with its mounts, and returns their first process.
func (s *instance) startInit(ctx context.Context, spec sandbox.Spec) (_ *handle, err error) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	nameServers := ""
	if s.link != nil {
		// The host's own may be on its loopback.
		nameServers = s.path("resolv.conf")
		if err := os.WriteFile(nameServers, s.link.ResolvConf(), 0o644); err != nil {
			return nil, err
		}
	}
	c := command{
		path: sh, argv: []string{"sh", "-c", initScript, "isolde-" + string(s.record.ID), nameServers},
		env: []string{"PATH=" + defaultPath, s.marker()}, dir: "/", output: w,
	}
	init, err := c.start(namespaceFlags, func(start func() error) error {
		if len(spec.Volumes)+len(spec.Mounts) == 0 {
			return s.inNetwork(start)
		}
		return withMounts(ctx, spec, func() error {
			if err := s.joinNetwork(); err != nil {
				return err
			}
			return start()
		})
	})
	w.Close()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, init.kill(), init.awaitEnd())
			init.close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("wait for the first process: %w", err)
		}
		if line == "ready\n" {
			break
		}
		s.driver.log.Warn("process namespace is incomplete", "sandbox", s.record.ID, "err", strings.TrimSpace(line))
	}
	hostname := cmp.Or(spec.Hostname, string(s.record.ID))
	err = init.enter(func() error { return unix.Sethostname([]byte(hostname)) })
	return init, err
}

// inNetwork runs f on a thread in the network of the sandbox's link.
func (s *instance) inNetwork(f func() error) error {
	if s.link == nil {
		return f()
	}
	return onThread(func() error {
		if err := s.joinNetwork(); err != nil {
			return err
		}
		return f()
	})
}

// joinNetwork puts the calling thread, which must end after this, in the
// network of the sandbox's link.
func (s *instance) joinNetwork() error {
	if s.link == nil {
		return nil
	}
	ns, err := os.Open(s.link.Path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// inside runs f on a thread in the sandbox's namespaces, as far as it has
// some: what f starts is in them.
func (s *instance) inside(f func() error) error {
	if s.init == nil {
		return s.inNetwork(f)
	}
	return s.init.enter(f)
}

// enter runs f in the namespaces that h is the first process of.
func (h *handle) enter(f func() error) error {
	return onThread(func() error {
		// Threads share their root and working directory, which a mount
		// namespace brings along.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare the working directory: %w", err)
		}
		var entered error
		err := h.control(func(fd int) { entered = unix.Setns(fd, namespaceFlags|unix.CLONE_NEWNET) })
		if err := errors.Join(err, entered); err != nil {
			return fmt.Errorf("enter namespaces: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it, whatever f did to it. The
// main thread does not end, and /proc/self tells of it, so f gets another.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // never unlocked: the thread ends with this goroutine
	}()
	return <-done
}
