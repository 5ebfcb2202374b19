package sandboxtest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/isolde-run/isolde/sandbox"
)

// agentPath is where the agent stands in the root that NewRoot makes.
const agentPath = "/agent"

// BuildAgent builds testagent and returns the path of the static executable,
// which goes with the test.
func BuildAgent(t testing.TB) string {
	t.Helper()
	path := filepath.Join(TempDir(t), "agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path,
		"github.com/isolde-run/isolde/sandbox/sandboxtest/testagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test agent: %v\n%s", err, out)
	}
	return path
}

// NewRoot makes both forms of a root that holds nothing but the agent: an
// EROFS file with /agent, /etc, /tmp (1777), /proc, /dev, /sys and /work
// (writable for all), and a folder with the code, whose command is ./agent.
func NewRoot(t testing.TB, agent string) sandbox.Root {
	t.Helper()
	dir := TempDir(t)
	code := filepath.Join(dir, "code")
	image := filepath.Join(dir, "root.erofs")
	if err := os.MkdirAll(code, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(filepath.Join(code, "agent"), agent); err != nil {
		t.Fatal(err)
	}
	if err := writeImage(image, agent); err != nil {
		t.Fatalf("write the root image: %v", err)
	}
	return sandbox.Root{
		Image: image,
		Host:  &sandbox.HostRoot{Code: code, Command: []string{"./agent"}},
	}
}

// writeImage writes the EROFS file of NewRoot.
func writeImage(path, agent string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := erofs.Create(f, erofs.WithTempDir(filepath.Dir(path)))
	for _, dir := range []struct {
		name string
		mode os.FileMode
	}{
		{"/etc", 0o755}, {"/proc", 0o755}, {"/dev", 0o755}, {"/sys", 0o755},
		{"/tmp", 0o777 | os.ModeSticky}, {"/work", 0o777},
	} {
		if err := w.Mkdir(dir.name, dir.mode); err != nil {
			return err
		}
		if err := w.Chmod(dir.name, dir.mode); err != nil {
			return err
		}
	}
	files := []struct {
		name string
		mode os.FileMode
		data string
	}{
		{"/etc/passwd", 0o644, "root:x:0:0:root:/:/agent\nagent:x:1000:1000:agent:/work:/agent\n"},
		{"/etc/group", 0o644, "root:x:0:\nagent:x:1000:\n"},
		{"/etc/hosts", 0o644, "127.0.0.1 localhost\n"},
		{"/etc/resolv.conf", 0o644, ""},
		{"/etc/not-executable", 0o644, "this is no program\n"},
	}
	for _, file := range files {
		out, err := w.Create(file.name)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(out, file.data); err != nil {
			return err
		}
		if err := out.Chmod(file.mode); err != nil {
			return err
		}
		if err := out.Close(); err != nil {
			return err
		}
	}
	if err := addExecutable(w, agentPath, agent); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func addExecutable(w *erofs.Writer, name, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := w.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(0o755); err != nil {
		return err
	}
	return out.Close()
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// TempDir is t.TempDir with a path short enough for the sockets that drivers
// keep in their state folder.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isolde-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What a killed process still writes into delays the removal.
		for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
			if err = os.RemoveAll(dir); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}
