package test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/server"
)

// TestHostReboot takes away all that a reboot takes: every process at once,
// and what is kept in memory, such as /run, mounts and control groups. What
// is on the disk stays as it was at that moment.
func TestHostReboot(t *testing.T) {
	b := newBed(t, "gvisor")
	folder := t.TempDir()
	copyFile(t, "agents/echo/agent.py", folder+"/agent.py")
	writeFile(t, folder+"/isolde.yaml", "name: rebooted\nentrypoint: agent.py\nstorage: /mnt/data\n")
	arn := b.deploy(folder)
	const sessions = 3
	for n := range sessions {
		b.echo(arn, sessionNumber(n), `{"write":{"/mnt/data/note":"kept"}}`)
	}
	b.mustIsolde("session", "exec", string(sessionNumber(0)), "--", "sync", "/mnt/data/note")
	_, before := b.states("rebooted")

	b.stop(syscall.SIGKILL)
	var ids []string
	for _, s := range before {
		killSandbox(t, s.Sandbox)
		ids = append(ids, s.Sandbox)
	}
	run, err := server.RunDir(b.data)
	if err != nil {
		t.Fatal(err)
	}
	b.await(func() error { return forget(run, ids) })

	b.start()
	states, after := b.states("rebooted")
	if states[isolde.SessionStopped] != sessions || len(after) != sessions {
		t.Errorf("after the reboot: %v", states)
	}
	for _, s := range after {
		if s.EndReason == "" {
			t.Errorf("nobody knows why session %s ended", s.ID)
		}
	}
	for n := range sessions {
		r := b.echo(arn, sessionNumber(n), `{"read":["/mnt/data/note"]}`)
		if note, _ := r.Read["/mnt/data/note"].(string); r.Count != 1 || n == 0 && note != "kept" {
			t.Errorf("session %d: call %d, its storage has %q", n, r.Count, note)
		}
	}
}

// forget removes a folder of /run with what is mounted there, and the control
// groups of sandboxes.
func forget(run string, sandboxes []string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, run+"/") {
			err = errors.Join(err, syscall.Unmount(at, syscall.MNT_DETACH))
		}
	}
	err = errors.Join(err, os.RemoveAll(run))
	return errors.Join(err, filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || !slices.ContainsFunc(sandboxes, func(id string) bool { return strings.Contains(e.Name(), id) }) {
			return nil //nolint:nilerr // groups of others come and go
		}
		if err := syscall.Rmdir(path); err != nil && !errors.Is(err, syscall.ENOENT) {
			return err // the kernel may need a moment
		}
		return fs.SkipDir
	}))
}
