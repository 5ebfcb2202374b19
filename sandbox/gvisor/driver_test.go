//go:build linux

package gvisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

func TestFingerprint(t *testing.T) {
	f := Fingerprint(t.Context(), need.GVisor(t))
	if !f.Available || f.Isolation == "" || len(f.Details) < 2 {
		t.Errorf("fingerprint = %+v", f)
	}
}

func TestRunscMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, path := range []string{"", "/no/such/runsc"} {
		f := Fingerprint(t.Context(), path)
		if f.Available || !strings.Contains(f.Hint, "make bin/runsc") || !strings.Contains(f.Reason, "runsc") {
			t.Errorf("runsc %q: fingerprint = %+v", path, f)
		}
		if os.Geteuid() != 0 {
			continue
		}
		_, err := Open(t.Context(), Config{StateDir: t.TempDir(), Runsc: path})
		if e := isolde.AsError(err); e.Code != isolde.CodeUnsupported || !strings.Contains(e.Hint, "make bin/runsc") {
			t.Errorf("runsc %q: open: %v", path, err)
		}
	}
}

func TestRunscThatCannotRun(t *testing.T) {
	sh := need.Command(t, "sh")
	if !interpreted(sh) {
		t.Skip("this machine's sh is static")
	}
	if _, err := FindRunsc(sh); isolde.CodeOf(err) != isolde.CodeUnsupported || !strings.Contains(err.Error(), "dynamically") {
		t.Errorf("a dynamic executable: %v", err)
	}
}

func TestStateFolderTooLong(t *testing.T) {
	need.GVisor(t)
	_, err := Open(t.Context(), Config{StateDir: "/" + strings.Repeat("x", 100), Runsc: need.GVisor(t)})
	if isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Errorf("open: %v", err)
	}
}

// TestExitAtOnce ends agents before Start could have looked at them.
func TestExitAtOnce(t *testing.T) {
	a := newAgents(t)
	image := filepath.Join(t.TempDir(), "probe.erofs")
	if err := writeProbeImage(image); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		specs := make([]sandbox.Spec, 5)
		for i := range specs {
			specs[i] = a.spec(isolde.Resources{})
			specs[i].Root.Image, specs[i].Command, specs[i].Dir = image, []string{"/probe"}, "/"
		}
		for _, spec := range specs {
			wg.Go(func() {
				s, err := a.Start(t.Context(), spec)
				if err != nil {
					t.Error(err)
					return
				}
				<-s.Done()
				if got := s.Exit(); got != (sandbox.Exit{Code: probeExit, Reason: sandbox.ExitedItself}) {
					t.Errorf("exit = %+v", got)
				}
				if err := s.Stop(t.Context(), time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if children := zombies(t); len(children) > 0 {
		t.Errorf("zombies: %v", children)
	}
}

func TestCancelledStartsLeaveNoZombies(t *testing.T) {
	a := newAgents(t)
	for delay := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(delay*15)*time.Millisecond)
		if s, err := a.Start(ctx, a.spec(isolde.Resources{})); err == nil {
			if err := s.Stop(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}
		cancel()
		a.checkGone(t)
	}
	if children := zombies(t); len(children) > 0 {
		t.Errorf("zombies: %v", children)
	}
}

// TestRecoverCleansHalfAStart finds what a server leaves that was killed while
// it started a sandbox.
func TestRecoverCleansHalfAStart(t *testing.T) {
	a := newAgents(t)
	id := sandbox.NewID()
	a.started = append(a.started, id)
	dir := filepath.Join(a.cfg.StateDir, string(id))
	g := a.groups.groupOf(string(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := g.create(limits{cpus: 1, memory: 64 << 20, tasks: 10}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.router.Attach(t.Context(), string(id), isolde.Network{Egress: isolde.EgressNone}); err != nil {
		t.Fatal(err)
	}
	stray := exec.Command("sleep", "1000")
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	for _, folder := range g.Dirs {
		if err := write(filepath.Join(folder, "cgroup.procs"), strconv.Itoa(stray.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := a.Recover(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("Recover = %v, %v", found, err)
	}
	_ = stray.Wait() // the test hangs here if nobody kills it
}

func TestTheAgentHasNoPowers(t *testing.T) {
	a := newAgents(t)
	s := a.start(t, isolde.Resources{})
	reply, err := do(t.Context(), s, order.Order{Do: "read", Path: "/proc/self/status"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Uid:\t1000\t1000"} {
		if !strings.Contains(reply.Value, want) {
			t.Errorf("status lacks %q:\n%s", want, reply.Value)
		}
	}
	if _, err := do(t.Context(), s, order.Order{Do: "read", Path: a.root.Image}); err == nil {
		t.Error("the agent reads a file of the host")
	}
}

// zombies are the children of this process that nobody waited for.
func zombies(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		stat := readString(filepath.Join("/proc", e.Name(), "stat"))
		if strings.Contains(stat, fmt.Sprintf(") Z %d ", os.Getpid())) {
			found = append(found, stat)
		}
	}
	return found
}
