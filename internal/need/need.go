// Package need lets a test say what it needs of the machine. A test that
// cannot have it skips with the reason; where ISOLDE_REQUIRE, a comma list
// such as "gvisor,netns,python", names the need, it fails instead, so that CI
// cannot pass by skipping.
package need

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Root needs the test to run as root ("root" in ISOLDE_REQUIRE).
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root", "this test runs as root only")
	}
}

// NetNS needs network namespaces of the test's own ("netns").
func NetNS(t testing.TB) {
	t.Helper()
	if err := tryNetNS(); err != nil {
		missing(t, "netns", "cannot make a network namespace: "+err.Error())
	}
}

// Command needs an executable on PATH and returns its path. What it is called
// in ISOLDE_REQUIRE is its name without a version: "python3" is "python".
func Command(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, strings.TrimRight(name, "0123456789."), err.Error())
	}
	return path
}

// GVisor needs root, network namespaces and a runsc ("gvisor"), and returns
// its path: $ISOLDE_RUNSC, bin/runsc of this repository, or one on PATH.
func GVisor(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "gvisor", "gVisor sandboxes need root")
	}
	if err := tryNetNS(); err != nil {
		missing(t, "gvisor", "cannot make a network namespace: "+err.Error())
	}
	for _, path := range []string{os.Getenv("ISOLDE_RUNSC"), filepath.Join(moduleRoot(), "bin", "runsc"), "runsc"} {
		if path == "" {
			continue
		}
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	missing(t, "gvisor", "there is no runsc; make bin/runsc builds it")
	return ""
}

func missing(t testing.TB, need, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("ISOLDE_REQUIRE"), ","), need) {
		t.Fatalf("ISOLDE_REQUIRE names %s, but %s", need, reason)
	}
	t.Skip(reason)
}

// moduleRoot is the folder of the go.mod above the test's folder.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}
