//go:build linux

package gvisor

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// withVolume starts an agent with a volume that a later one finds again.
func (a *agents) withVolume(t *testing.T, change func(*sandbox.Spec)) sandbox.Sandbox {
	t.Helper()
	return a.startWith(t, func(spec *sandbox.Spec) {
		spec.Volumes = []sandbox.Volume{{Path: "/mnt/data", File: filepath.Join(a.dir, "volume"), Bytes: 512 << 20}}
		change(spec)
	})
}

// TestVolumeIsNotMemory writes more to a volume than the sandbox has memory.
func TestVolumeIsNotMemory(t *testing.T) {
	a := newAgents(t)
	s := a.withVolume(t, func(spec *sandbox.Spec) { spec.Resources = isolde.Resources{MemoryBytes: 128 << 20} })
	if _, err := do(t.Context(), s, order.Order{Do: "disk", Path: "/mnt/data/large", Count: 400 << 20}); err != nil {
		t.Fatalf("%v; exit %+v", err, s.Exit())
	}
	mustEcho(t, s)
}

// TestGoferDies kills the process that opens files for a sandbox, as the
// kernel does that runs out of memory.
func TestGoferDies(t *testing.T) {
	a := newAgents(t)
	s := a.withVolume(t, func(*sandbox.Spec) {})
	if _, err := do(t.Context(), s, order.Order{Do: "write", Path: "/mnt/data/note", Value: "kept"}); err != nil {
		t.Fatal(err)
	}
	gofer := s.(*Sandbox).record.Gofer
	if command := readString(filepath.Join("/proc", strconv.Itoa(gofer.PID), "cmdline")); !strings.HasPrefix(command, "runsc-gofer") {
		t.Fatalf("process %d is %q", gofer.PID, command)
	}
	if err := syscall.Kill(gofer.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	mustEcho(t, s)
	if err := s.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if left := zombies(t); len(left) > 0 {
		t.Errorf("zombies: %v", left)
	}
	s = a.withVolume(t, func(*sandbox.Spec) {})
	if got, err := do(t.Context(), s, order.Order{Do: "read", Path: "/mnt/data/note"}); err != nil || got.Value != "kept" {
		t.Errorf("read %q, %v", got.Value, err)
	}
}
