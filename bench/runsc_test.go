//go:build linux

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/internal/need"
)

// bareRunsc starts the sandbox of a session by hand: with the bundle that the
// server wrote for it, the same EROFS image and settings of gVisor, and a
// control group beside the session's, since a group of its own gets a larger
// share of a busy machine.
type bareRunsc struct {
	path   string
	dir    string // of all its starts
	spec   specs.Spec
	groups []string // folders of the session's control group
}

func newBareRunsc(b *testing.B, s *server, sandbox string) *bareRunsc {
	b.Helper()
	r := &bareRunsc{path: need.GVisor(b), dir: tempDir(b)}
	text, err := os.ReadFile(filepath.Join(bundleOf(b, s, sandbox), "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &r.spec)
	}
	if err != nil {
		b.Fatal(err)
	}
	const upper = "dev.gvisor.tar.rootfs.upper"
	if files, err := os.ReadFile(r.spec.Annotations[upper]); err == nil {
		r.spec.Annotations[upper] = filepath.Join(r.dir, "upper.tar")
		if err := os.WriteFile(r.spec.Annotations[upper], files, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	// Version 1 has a folder for each controller.
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another's, and gone meanwhile
		}
		if err == nil && d.IsDir() && d.Name() == filepath.Base(r.spec.Linux.CgroupsPath) {
			r.groups = append(r.groups, path)
		}
		return err
	})
	if err != nil || len(r.groups) == 0 {
		b.Fatalf("control groups of sandbox %s: %v, %v", sandbox, r.groups, err)
	}
	return r
}

// bundleOf finds the bundle of a sandbox on the command line of its gVisor.
func bundleOf(b *testing.B, s *server, sandbox string) string {
	b.Helper()
	for _, pid := range processesOf(b, s, sandbox) {
		args, err := readStrings(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // it has ended
		}
		for _, arg := range args {
			if dir, ok := strings.CutPrefix(arg, "--bundle="); ok {
				return dir
			}
		}
	}
	b.Fatalf("sandbox %s has no bundle", sandbox)
	return ""
}

// start returns how long runsc took to return, and the agent to its first
// healthy ping. The sandbox is gone then.
func (r *bareRunsc) start(l *links) (returned, answered time.Duration) {
	b := l.b
	b.Helper()
	link := l.attach()
	defer l.detach(link)
	dir, err := os.MkdirTemp(r.dir, "")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	group := "isolde-bench-" + filepath.Base(dir)
	defer r.removeGroup(b, group)
	if err := errors.Join(r.makeGroup(group), r.writeBundle(dir, link.Path, group)); err != nil {
		b.Fatal(err)
	}
	pidFile := filepath.Join(dir, "pid")
	cmd := exec.Command(r.path, "--root="+filepath.Join(dir, "root"), "--log="+filepath.Join(dir, "log"),
		"--platform=systrap", "--network=sandbox", "--host-uds=none", "--host-fifo=none", "--host-settings=ignore",
		"--allow-rootfs-tar-annotation", "run", "-detach", "-bundle="+dir, "-pid-file="+pidFile, "agent")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	output, err := os.Create(filepath.Join(dir, "output")) // never a pipe: the sandbox holds it
	if err != nil {
		b.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output

	t0 := time.Now()
	err = cmd.Run()
	returned = time.Since(t0)
	defer func() {
		if err := killSandbox(pidFile); err != nil {
			b.Error(err)
		}
	}()
	if err != nil {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		b.Fatalf("runsc: %v\n%s", err, text)
	}
	awaitPing(b, l.router, link, func() error { return nil })
	return returned, time.Since(t0)
}

// makeGroup makes a control group beside the session's, without its limits.
func (r *bareRunsc) makeGroup(name string) error {
	for _, sibling := range r.groups {
		dir := filepath.Join(filepath.Dir(sibling), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(sibling)) != "cpuset" {
			continue
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // a new group has none
			value, err := os.ReadFile(filepath.Join(sibling, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), value, 0)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *bareRunsc) removeGroup(b *testing.B, name string) {
	b.Helper()
	for _, sibling := range r.groups {
		dir := filepath.Join(filepath.Dir(sibling), name)
		err := unix.Rmdir(dir)
		// The last processes of a killed sandbox leave in their own time.
		for deadline := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); err = unix.Rmdir(dir) {
			time.Sleep(time.Millisecond)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.Errorf("remove control group %s: %v", dir, err)
		}
	}
}

func (r *bareRunsc) writeBundle(dir, namespace, group string) error {
	spec, linux := r.spec, *r.spec.Linux
	linux.Namespaces, linux.CgroupsPath = nil, group
	for _, ns := range r.spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			ns.Path = namespace
		}
		linux.Namespaces = append(linux.Namespaces, ns)
	}
	spec.Linux = &linux
	spec.Root = &specs.Root{Path: filepath.Join(dir, "rootfs")}
	if err := os.Mkdir(spec.Root.Path, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
}

// killSandbox ends a sandbox, whose process became a child of this one when
// runsc returned, and everything it started.
func killSandbox(pidFile string) error {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill sandbox: %w", err)
	}
	for {
		_, err := unix.Wait4(pid, nil, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
