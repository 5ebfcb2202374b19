package image_test

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/gvisor"
	"github.com/isolde-run/isolde/sandbox/process"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// telemetryAgent tells what runs it, and whether it is instrumented.
const telemetryAgent = `
import os, sys
import beside
from opentelemetry import trace
print("%d.%d" % sys.version_info[:2], type(trace.get_tracer_provider()).__module__, beside.WORD, os.path.relpath(trace.__file__))
`

// TestOpenTelemetry runs a code artifact with the real
// opentelemetry-instrument in sandboxes of both drivers, as AWS's
// documentation has it.
func TestOpenTelemetry(t *testing.T) {
	store, err := image.Open(image.Config{Dir: sandboxtest.TempDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	runtime, python := somePython(t, store)
	packages := t.TempDir()
	need.Packages(t, "python", exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
		"--no-compile", "--only-binary", ":all:", "--target", packages, "opentelemetry-distro", "opentelemetry-instrumentation"))
	for name, text := range map[string]string{"agent.py": telemetryAgent, "beside.py": "WORD = 'hello'\n"} {
		if err := os.WriteFile(filepath.Join(packages, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := throughZip(t, packages)
	img, err := store.Build(t.Context(), image.Source{Dir: dir, Entrypoint: []string{"opentelemetry-instrument", "agent.py"}, Runtime: runtime}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The distribution's exporter is a package of its own.
	img.Env = append(img.Env, "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none")
	want := runtime.Version() + " opentelemetry.sdk.trace hello opentelemetry/trace/__init__.py\n"
	for name, open := range map[string]func(*testing.T) sandbox.Driver{"process": openProcess, "gvisor": openGVisor} {
		t.Run(name, func(t *testing.T) {
			if out := output(t, open(t), img); out != want {
				t.Errorf("the agent says %q, want %q", out, want)
			}
		})
	}
}

// somePython is a code runtime of this machine, and its interpreter.
func somePython(t *testing.T, store *image.Store) (isolde.CodeRuntime, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "agent.py"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range []isolde.CodeRuntime{isolde.RuntimePython312, isolde.RuntimePython313, isolde.RuntimePython311, isolde.RuntimePython310} {
		img, err := store.Build(t.Context(), image.Source{Dir: dir, Entrypoint: []string{"agent.py"}, Runtime: r}, nil)
		if err == nil {
			return r, img.Root.Host.Command[0]
		}
		if isolde.CodeOf(err) != isolde.CodeUnsupported {
			t.Fatal(err)
		}
	}
	need.Command(t, "python3.12")
	t.Fatal("there is a python3.12, but it does not run")
	return "", ""
}

// throughZip zips a folder and unpacks it elsewhere.
func throughZip(t *testing.T, from string) (dir string) {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if err := w.AddFS(os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := image.UnpackZip(bytes.NewReader(b.Bytes()), int64(b.Len()), dir, isolde.MaxCodeUnpacked); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openProcess(t *testing.T) sandbox.Driver {
	d, err := process.Open(t.Context(), process.Config{StateDir: sandboxtest.TempDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func openGVisor(t *testing.T) sandbox.Driver {
	runsc := need.GVisor(t)
	state := sandboxtest.TempDir(t)
	router, err := network.Open(t.Context(), network.Config{Name: "vendored-test", Dir: filepath.Join(state, "net")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { router.Close() })
	d, err := gvisor.Open(t.Context(), gvisor.Config{StateDir: filepath.Join(state, "s"), Runsc: runsc, Router: router})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// output runs an agent to its end and returns what it said.
func output(t *testing.T, driver sandbox.Driver, img image.Image) string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	egress := isolde.EgressNone
	if !driver.Capabilities().OwnNetwork {
		egress = isolde.EgressInternet // which it has anyway; nothing here uses it
	}
	s, err := driver.Start(t.Context(), sandbox.Spec{
		ID: sandbox.NewID(), Root: img.Root, Command: img.Command, Env: img.Env, Dir: img.Dir, UID: img.UID, GID: img.GID,
		Network: isolde.Network{Egress: egress}, LogFile: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-t.Context().Done():
	}
	exit := s.Exit()
	if err := s.Stop(context.Background(), 0); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(log)
	if err != nil || exit.Code != 0 {
		t.Errorf("it %s: %v", exit, err)
	}
	return string(text)
}
