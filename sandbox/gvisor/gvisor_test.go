//go:build linux

package gvisor

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a driver whose router goes with the test.
func open(t testing.TB, state string) *Driver {
	t.Helper()
	return openIn(t, state, network.Config{})
}

// openIn opens a driver whose router is as net says.
func openIn(t testing.TB, state string, net network.Config) *Driver {
	t.Helper()
	path := need.GVisor(t)
	net.Name, net.Dir = "gvisor-test", filepath.Join(state, "net")
	router, err := network.Open(t.Context(), net)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := router.Close(); err != nil {
			t.Errorf("close the router: %v", err)
		}
	})
	d, err := Open(t.Context(), Config{StateDir: filepath.Join(state, "sandboxes"), Runsc: path, Router: router})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	need.GVisor(t)
	sandboxtest.Run(t, sandboxtest.Harness{Open: func(t *testing.T, state string) sandbox.Driver { return open(t, state) }})
}
