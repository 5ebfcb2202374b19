//go:build linux

package gvisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnifiedHierarchy plays a machine with control groups version 2 in a
// folder, since this one may have version 1: it shows which files are written,
// not that the kernel obeys them.
func TestUnifiedHierarchy(t *testing.T) {
	root := t.TempDir()
	slice := filepath.Join(root, "system.slice")
	put(t, filepath.Join(slice, "cgroup.subtree_control"), "cpuset cpu io memory pids")
	h, err := newHierarchy(root, "0::/system.slice/isolde.service\n", true)
	if err != nil {
		t.Fatal(err)
	}
	g := h.groupOf("s1")
	if diff := cmp.Diff(map[string]string{"": filepath.Join(slice, "isolde-s1")}, g.Dirs); diff != "" {
		t.Errorf("folders (-want +got)\n%s", diff)
	}
	for _, s := range g.settings(limits{cpus: 1.5, memory: 1 << 30, tasks: 100}) {
		put(t, s.file, "")
		if err := write(s.file, s.value); err != nil {
			t.Error(err)
		}
	}
	dir := g.Dirs[""]
	for file, want := range map[string]string{
		"cpu.max": "150000 100000", "memory.max": "1073741824", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "100",
	} {
		if got := readString(filepath.Join(dir, file)); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	put(t, filepath.Join(dir, "cpu.stat"), "usage_usec 2500\nuser_usec 2000\n")
	put(t, filepath.Join(dir, "memory.current"), "5000\n")
	put(t, filepath.Join(dir, "memory.stat"), "anon 1\ninactive_file 1000\n")
	put(t, filepath.Join(dir, "pids.current"), "7\n")
	if cpu, memory, tasks := g.usage(); cpu.Microseconds() != 2500 || memory != 4000 || tasks != 7 {
		t.Errorf("usage = %v, %d, %d", cpu, memory, tasks)
	}
	put(t, filepath.Join(dir, "memory.events"), "low 0\noom 1\noom_kill 0\n")
	if g.ranOutOfMemory() {
		t.Error("an event that killed nothing counts as the end")
	}
	put(t, filepath.Join(dir, "memory.events"), "low 0\noom 1\noom_kill 2\n")
	if !g.ranOutOfMemory() {
		t.Error("a kill for memory is not seen")
	}
}

func TestControllersArePassedOn(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"", "user.slice", "user.slice/user-0.slice"} {
		put(t, filepath.Join(root, dir, "cgroup.subtree_control"), "memory pids")
	}
	if _, err := newHierarchy(root, "0::/user.slice/user-0.slice/session-1.scope\n", true); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "user.slice", "user.slice/user-0.slice"} {
		if got := readString(filepath.Join(root, dir, "cgroup.subtree_control")); got != "+cpu" {
			t.Errorf("written to %q: %q, want +cpu", dir, got)
		}
	}
}

func TestLegacyHierarchyNeedsItsControllers(t *testing.T) {
	root := t.TempDir()
	own := "4:memory:/a/b\n3:cpu,cpuacct:/\n2:pids:/c\n1:name=systemd:/\n0::/unified\n"
	for _, dir := range []string{"memory/a/b", "cpu", "cpuacct"} {
		put(t, filepath.Join(root, dir, "cgroup.procs"), "")
	}
	if _, err := newHierarchy(root, own, false); err == nil {
		t.Error("a machine without pids is good enough")
	}
	put(t, filepath.Join(root, "pids/c/cgroup.procs"), "")
	h, err := newHierarchy(root, own, false)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"memory": filepath.Join(root, "memory/a/b/isolde-s1"), "cpu": filepath.Join(root, "cpu/isolde-s1"),
		"cpuacct": filepath.Join(root, "cpuacct/isolde-s1"), "pids": filepath.Join(root, "pids/c/isolde-s1"),
	}
	if diff := cmp.Diff(want, h.groupOf("s1").Dirs); diff != "" {
		t.Errorf("folders (-want +got)\n%s", diff)
	}
}

// TestControllersMountedTogether plays what systemd does with version 1.
func TestControllersMountedTogether(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"memory", "pids", "cpu,cpuacct"} {
		put(t, filepath.Join(root, dir, "system.slice/cgroup.procs"), "")
	}
	for _, link := range []string{"cpu", "cpuacct"} {
		if err := os.Symlink("cpu,cpuacct", filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	own := "3:memory:/system.slice\n2:cpu,cpuacct:/system.slice\n1:pids:/system.slice\n"
	h, err := newHierarchy(root, own, false)
	if err != nil {
		t.Fatal(err)
	}
	g := h.groupOf("s1")
	// A plain folder has no files to set limits in: that, and not a folder
	// that is there already, must be what stops it.
	if err := g.create(limits{cpus: 1, memory: 1 << 30, tasks: 10}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create: %v, want that there are no files for limits", err)
	}
	for c, dir := range g.Dirs {
		if isDir(dir) {
			t.Errorf("folder of %s is left: %s", c, dir)
		}
	}
}

func put(t *testing.T, path, value string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}
