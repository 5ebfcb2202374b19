package process

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// withRouter is a driver that takes its router along when it is closed.
type withRouter struct {
	*Driver
	router *network.Router
}

func (d withRouter) Close() error { return errors.Join(d.Driver.Close(), d.router.Close()) }

func TestConformanceWithNamespaces(t *testing.T) {
	need.Root(t)
	need.NetNS(t)
	sandboxtest.Run(t, sandboxtest.Harness{Open: func(t *testing.T, state string) sandbox.Driver {
		ctx := context.Background()
		router, err := network.Open(ctx, network.Config{Name: "process-test", Dir: filepath.Join(state, "network")})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(ctx, Config{StateDir: filepath.Join(state, "process"), Router: router, Logger: testLogger(t)})
		if err != nil {
			router.Close()
			t.Fatal(err)
		}
		return withRouter{d, router}
	}})
}

// TestConformanceOnHostNetwork is the driver as an ordinary user has it.
func TestConformanceOnHostNetwork(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{Port: freePort(t), Open: func(t *testing.T, state string) sandbox.Driver {
		d, err := open(context.Background(), Config{StateDir: state, Logger: testLogger(t)}, false)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}})
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	d := openPlain(t)
	_, err = d.Start(t.Context(), sandbox.Spec{
		ID: sandbox.NewID(), Ports: []int{port},
		Root: sandbox.Root{Host: &sandbox.HostRoot{Code: t.TempDir(), Command: []string{"true"}}},
	})
	e := isolde.AsError(err)
	if e.Code != isolde.CodeConflict || !strings.Contains(e.Message, strconv.Itoa(port)) || !strings.Contains(e.Hint, strconv.Itoa(port)) {
		t.Errorf("Start with the port in use: %v", err)
	}
}

func TestNeedsAHostRoot(t *testing.T) {
	d := openPlain(t)
	_, err := d.Start(t.Context(), sandbox.Spec{ID: sandbox.NewID(), Root: sandbox.Root{Image: "/some.erofs"}})
	if e := isolde.AsError(err); e.Code != isolde.CodeUnsupported || !strings.Contains(e.Hint, "gvisor") {
		t.Errorf("Start without a host root: %v", err)
	}
}

func TestStateFolderIsOneServers(t *testing.T) {
	d := openPlain(t)
	if _, err := open(t.Context(), d.cfg, false); isolde.CodeOf(err) != isolde.CodeConflict {
		t.Errorf("second driver on one state folder: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := open(t.Context(), d.cfg, false)
	if err != nil {
		t.Fatalf("open after Close: %v", err)
	}
	again.Close()
}

func TestFingerprint(t *testing.T) {
	f := Fingerprint(t.Context())
	if f.Driver != "process" || !f.Available || !strings.HasPrefix(f.Isolation, "none") {
		t.Errorf("Fingerprint = %+v", f)
	}
	own := network.Probe() == nil && probeNamespaces() == nil
	if own != (f.Reason == "") {
		t.Errorf("own networks: %v, but Reason = %q", own, f.Reason)
	}
	if f.Reason != "" && f.Hint == "" {
		t.Errorf("restricted (%s), but without a hint", f.Reason)
	}
}

func TestLookUp(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755, "bin/data": 0o644, "agent": 0o755} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, path string
		want       string
		err        error
	}{
		{"./agent", "PATH=/bin", filepath.Join(dir, "agent"), nil},
		{"/bin/x", "PATH=", "/bin/x", nil},
		{"tool", "PATH=/nowhere:" + dir + "/bin", filepath.Join(dir, "bin/tool"), nil},
		{"tool", "PATH=bin", filepath.Join(dir, "bin/tool"), nil},
		{"data", "PATH=" + dir + "/bin", "", syscall.EACCES},
		{"tool", "PATH=/nowhere", "", syscall.ENOENT},
		{"", "PATH=/bin", "", syscall.ENOENT},
	} {
		got, err := lookUp([]string{c.name}, []string{c.path}, dir)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("lookUp(%q) with %s = %q, %v; want %q, %v", c.name, c.path, got, err, c.want, c.err)
		}
	}
}

func TestRemoveTreeThatIsReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	if err := os.MkdirAll(filepath.Join(dir, "cache", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cache", "deep", "file"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"cache/deep", "cache"} {
		if err := os.Chmod(filepath.Join(dir, d), 0o500); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeTree(dir); err != nil {
		t.Error(err)
	}
}

func openPlain(t *testing.T) *Driver {
	t.Helper()
	d, err := open(t.Context(), Config{StateDir: t.TempDir()}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
