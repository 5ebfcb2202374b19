//go:build linux

package gvisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// patient bounds what must happen on a busy machine.
const patient = 60 * time.Second

// agents starts sandboxes with the suite's agent and checks that nothing is
// left of them.
type agents struct {
	*Driver
	root    sandbox.Root
	dir     string
	started []sandbox.ID
}

func newAgents(t testing.TB) *agents {
	t.Helper()
	need.GVisor(t)
	a := &agents{root: sandboxtest.NewRoot(t, sandboxtest.BuildAgent(t)), dir: sandboxtest.TempDir(t)}
	a.Driver = open(t, a.dir)
	t.Cleanup(func() {
		a.Close()
		a.checkGone(t)
	})
	return a
}

// checkGone fails for what is left of the sandboxes that were started.
func (a *agents) checkGone(t testing.TB) {
	t.Helper()
	for _, id := range a.started {
		for _, dir := range a.groups.groupOf(string(id)).Dirs {
			if isDir(dir) {
				t.Errorf("left: control group %s", dir)
			}
		}
	}
	if left, _ := os.ReadDir(a.cfg.StateDir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left := a.router.Links(); len(left) > 0 {
		t.Errorf("left: links %v", left)
	}
}

func (a *agents) spec(r isolde.Resources) sandbox.Spec {
	id := sandbox.NewID()
	a.started = append(a.started, id)
	return sandbox.Spec{
		ID: id, Root: a.root, Command: []string{"/agent"}, Env: []string{"PATH=/bin", "HOME=/work"}, Dir: "/work", UID: 1000, GID: 1000,
		Ports: []int{8080}, Resources: r, Network: isolde.Network{Egress: isolde.EgressNone}, LogFile: filepath.Join(a.dir, "log"),
	}
}

func (a *agents) start(t testing.TB, r isolde.Resources) sandbox.Sandbox {
	t.Helper()
	return a.startWith(t, func(spec *sandbox.Spec) { spec.Resources = r })
}

// startWith starts a sandbox whose spec is changed first, and waits until its
// agent listens.
func (a *agents) startWith(t testing.TB, change func(*sandbox.Spec)) sandbox.Sandbox {
	t.Helper()
	spec := a.spec(isolde.Resources{})
	change(&spec)
	s, err := a.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), 0); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(patient); ; time.Sleep(5 * time.Millisecond) {
		if c, err := s.Dial(t.Context(), 8080); err == nil {
			c.Close()
			return s
		} else if time.Now().After(deadline) {
			t.Fatalf("the agent does not listen: %v", err)
		}
	}
}

// do sends an order. The error is the agent's, or that of reaching it.
func do(ctx context.Context, s sandbox.Sandbox, o order.Order) (order.Reply, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return order.Reply{}, err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx, 8080) },
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/invocations", bytes.NewReader(body))
	if err != nil {
		return order.Reply{}, err
	}
	resp, err := client.Do(request)
	if err != nil {
		return order.Reply{}, err
	}
	defer resp.Body.Close()
	var reply order.Reply
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return reply, err
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}

// mustEcho checks that a sandbox is well.
func mustEcho(t *testing.T, s sandbox.Sandbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if reply, err := do(ctx, s, order.Order{Do: "echo", Value: "well"}); err != nil || reply.Value != "well" {
		t.Errorf("echo = %q, %v", reply.Value, err)
	}
}

func waitDone(t *testing.T, s sandbox.Sandbox) sandbox.Exit {
	t.Helper()
	select {
	case <-s.Done():
		return s.Exit()
	case <-time.After(patient):
		t.Fatal("the sandbox does not end")
		return sandbox.Exit{}
	}
}

func TestMemoryBombEndsItsSandboxAlone(t *testing.T) {
	a := newAgents(t)
	bystander := a.start(t, isolde.Resources{})
	s := a.start(t, isolde.Resources{MemoryBytes: 256 << 20})
	_, err := do(t.Context(), s, order.Order{Do: "memory", Count: 1 << 30})
	if err == nil {
		t.Error("1 GiB fits into 256 MiB")
	}
	if exit := waitDone(t, s); exit.Reason != sandbox.ExitedNoMemory {
		t.Errorf("exit = %+v, want %q", exit, sandbox.ExitedNoMemory)
	}
	mustEcho(t, bystander)
}

func TestDiskFillerFindsTheDiskFull(t *testing.T) {
	a := newAgents(t)
	s := a.start(t, isolde.Resources{MemoryBytes: 512 << 20, DiskBytes: 64 << 20})
	for _, path := range []string{"/tmp/big", "/work/big"} {
		reply, err := do(t.Context(), s, order.Order{Do: "disk", Path: path, Count: 1 << 30})
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("1 GiB into %s: %q, %v; want no space left", path, reply.Value, err)
		}
	}
	mustEcho(t, s)
}

func TestDiskIsAtMostHalfOfMemory(t *testing.T) {
	a := newAgents(t)
	s := a.start(t, isolde.Resources{MemoryBytes: 256 << 20, DiskBytes: 1 << 30})
	_, err := do(t.Context(), s, order.Order{Do: "disk", Path: "/work/big", Count: 1 << 30})
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("1 GiB with 256 MiB of memory: %v; want no space left", err)
	}
	mustEcho(t, s)
}

func TestForkBombEndsOrIsThrottled(t *testing.T) {
	a := newAgents(t)
	bystander := a.start(t, isolde.Resources{})
	s := a.start(t, isolde.Resources{MemoryBytes: 1 << 30, Processes: 128})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, _ = do(ctx, s, order.Order{Do: "spawn", Count: 2000}) // it fails one way or another
	stats, err := s.Stats(t.Context())
	if err != nil || stats.Tasks > 128 {
		t.Errorf("%d tasks, %v; want at most 128", stats.Tasks, err)
	}
	mustEcho(t, bystander)
	if err := s.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

func TestLimitsReachTheGroup(t *testing.T) {
	a := newAgents(t)
	s := a.start(t, isolde.Resources{CPUs: 0.5, MemoryBytes: 300 << 20, Processes: 200}).(*Sandbox)
	if s.record.Group.Unified {
		dir := s.record.Group.Dirs[""]
		for file, want := range map[string]string{"cpu.max": "50000 100000", "memory.max": "314572800", "pids.max": "200"} {
			if got := readString(filepath.Join(dir, file)); got != want {
				t.Errorf("%s = %q, want %q", file, got, want)
			}
		}
		return
	}
	for _, c := range []struct{ controller, file, want string }{
		{"cpu", "cpu.cfs_quota_us", "50000"},
		{"memory", "memory.limit_in_bytes", "314572800"},
		{"pids", "pids.max", "200"},
	} {
		if got := readString(filepath.Join(s.record.Group.Dirs[c.controller], c.file)); got != c.want {
			t.Errorf("%s = %q, want %q", c.file, got, c.want)
		}
	}
	// Every process of the sandbox is in every group.
	for controller, dir := range s.record.Group.Dirs {
		if procs := readString(filepath.Join(dir, "cgroup.procs")); !strings.Contains(procs, "\n") {
			t.Errorf("controller %s holds %q, want the sandbox and its stubs", controller, procs)
		}
	}
}

func TestNeverMoreThanTheMachineHas(t *testing.T) {
	a := newAgents(t)
	got := a.limits(isolde.Resources{CPUs: 1000, MemoryBytes: 1 << 50})
	if got.cpus > 999 || got.memory != a.memory {
		t.Errorf("limits = %+v on a machine with %d bytes", got, a.memory)
	}
}

func TestFilesOfTheSession(t *testing.T) {
	a := newAgents(t)
	s := a.start(t, isolde.Resources{})
	for file, want := range map[string]string{
		"/etc/resolv.conf": "", // egress none has no name servers
		"/etc/hosts":       s.(*Sandbox).addr.String() + "\t" + string(s.ID()),
		"/etc/passwd":      "agent:x:1000", // of the image, beside the session's own
	} {
		reply, err := do(t.Context(), s, order.Order{Do: "read", Path: file})
		if err != nil || !strings.Contains(reply.Value, want) {
			t.Errorf("%s holds %q, %v; want %q", file, reply.Value, err, want)
		}
	}
	if _, err := do(t.Context(), s, order.Order{Do: "write", Path: "/etc/hosts", Value: "x"}); err == nil {
		t.Error("the agent can change /etc/hosts")
	}
	if _, err := os.Stat(a.root.Image); err != nil {
		t.Error(err)
	}
}
