package sandboxtest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/image/erofs"
	"github.com/isolde-run/isolde/sandbox"
)

// agentPath is where the agent stands in the root that NewRoot makes.
const agentPath = "/agent"

// BuildAgent builds testagent and returns the path of the static executable,
// which goes with the test.
func BuildAgent(t testing.TB) string {
	t.Helper()
	path := filepath.Join(TempDir(t), "agent")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path,
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
	if err := os.MkdirAll(filepath.Join(code, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(code, "etc", "not-executable"), []byte("this is no program\n"), 0o644); err != nil {
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
	executable, err := os.Open(agent)
	if err != nil {
		return err
	}
	defer executable.Close()
	info, err := executable.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	root := folder(0o755, map[string]*erofs.File{
		"agent": {Mode: 0o755, Source: executable, Size: info.Size()},
		"proc":  folder(0o755, nil),
		"dev":   folder(0o755, nil),
		"sys":   folder(0o755, nil),
		"tmp":   folder(0o777|fs.ModeSticky, nil),
		"work":  folder(0o777, nil),
		"etc": folder(0o755, map[string]*erofs.File{
			"passwd":         text("root:x:0:0:root:/:/agent\nagent:x:1000:1000:agent:/work:/agent\n"),
			"group":          text("root:x:0:\nagent:x:1000:\n"),
			"hosts":          text("127.0.0.1 localhost\n"),
			"resolv.conf":    text(""),
			"not-executable": text("this is no program\n"),
		}),
	})
	if err := erofs.Write(out, root); err != nil {
		return err
	}
	return out.Close()
}

func folder(mode fs.FileMode, children map[string]*erofs.File) *erofs.File {
	return &erofs.File{Mode: fs.ModeDir | mode, Children: children}
}

func text(s string) *erofs.File {
	return &erofs.File{Mode: 0o644, Source: strings.NewReader(s), Size: int64(len(s))}
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
