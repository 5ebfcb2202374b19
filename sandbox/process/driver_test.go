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
		return openWithRouter(t, state, true)
	}})
}

// openWithRouter opens a driver with a router, which goes with it.
func openWithRouter(t *testing.T, state string, namespaces bool) withRouter {
	t.Helper()
	ctx := context.Background()
	router, err := network.Open(ctx, network.Config{Name: "process-test", Dir: filepath.Join(state, "network")})
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(ctx, Config{StateDir: filepath.Join(state, "process"), Router: router, Logger: testLogger(t)}, namespaces)
	if err != nil {
		router.Close()
		t.Fatal(err)
	}
	return withRouter{d, router}
}

// look starts a shell with a script in a sandbox and returns what it printed
// until its end.
func look(t *testing.T, d sandbox.Driver, script string) (output string, exit sandbox.Exit) {
	t.Helper()
	dir := t.TempDir()
	s, err := d.Start(t.Context(), sandbox.Spec{
		ID: sandbox.NewID(), Hostname: "inside", LogFile: filepath.Join(dir, "log"),
		Env:     []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
		Network: isolde.Network{Egress: isolde.EgressNone},
		Root:    sandbox.Root{Host: &sandbox.HostRoot{Code: t.TempDir(), Command: []string{"sh", "-c", script}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), s.Exit()
}

func TestNamespacesFromWithin(t *testing.T) {
	need.Root(t)
	need.NetNS(t)
	state := sandboxtest.TempDir(t)
	leftovers := sandboxtest.Watch(state)
	d := openWithRouter(t, state, true)
	defer leftovers.Check(t)
	defer d.Close()

	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := look(t, d, "cat /etc/resolv.conf"); got != "" { // egress none has no name servers
		t.Errorf("/etc/resolv.conf inside is %q, want nothing", got)
	}
	if now, _ := os.ReadFile("/etc/resolv.conf"); string(now) != string(host) {
		t.Errorf("/etc/resolv.conf of the host became %q", now)
	}
	if got, _ := look(t, d, "cat /proc/sys/kernel/hostname"); got != "inside\n" {
		t.Errorf("hostname inside is %q", got)
	}
	// Orphans are reaped, and the host's processes are out of sight.
	got, _ := look(t, d, "(sleep 0.1 &); sleep 0.5; cd /proc; cat [0-9]*/status | grep -c '^State:.Z'; [ $(ls -d [0-9]* | wc -l) -lt 15 ] && echo few")
	if got != "0\nfew\n" {
		t.Errorf("zombies and number of processes inside are %q", got)
	}
	// The default action of a signal ends an agent, as it does outside.
	if _, exit := look(t, d, "kill -TERM $$; sleep 100"); exit != (sandbox.Exit{Code: 143, Reason: sandbox.ExitedKilled}) {
		t.Errorf("exit by SIGTERM is %+v", exit)
	}
	// The first process cannot be killed from within.
	if got, _ := look(t, d, "kill -9 -1 2>/dev/null; sleep 0.2; cat /proc/1/comm"); got != "sh\n" {
		t.Errorf("after kill(-1) process 1 is %q", got)
	}
}

// TestRouterWithoutNamespaces is a container that may make networks but no
// /proc.
func TestRouterWithoutNamespaces(t *testing.T) {
	need.Root(t)
	need.NetNS(t)
	state := sandboxtest.TempDir(t)
	leftovers := sandboxtest.Watch(state)
	d := openWithRouter(t, state, false)
	defer leftovers.Check(t)
	defer d.Close()
	if got, _ := look(t, d, "grep -c eth0: /proc/net/dev"); got != "1\n" {
		t.Errorf("the agent sees %q eth0", got)
	}
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

func TestFingerprint(t *testing.T) {
	f := Fingerprint(t.Context())
	if f.Driver != "process" || !f.Available || !strings.HasPrefix(f.Isolation, "none") {
		t.Errorf("Fingerprint = %+v", f)
	}
	own := network.Probe() == nil
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
