package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestToolsDieWithTheBuilder: a build that is killed leaves no installer that
// goes on in a folder which the next server sweeps.
func TestToolsDieWithTheBuilder(t *testing.T) {
	const where = "ISOLDE_TEST_BUILDER"
	if dir := os.Getenv(where); dir != "" { // the builder
		s := open(t, Config{Dir: filepath.Join(dir, "store")})
		script := "echo $$ > " + filepath.Join(dir, "new") + " && mv " + filepath.Join(dir, "new") + " " + filepath.Join(dir, "pid") + " && exec sleep 300"
		_, err := s.runTool(t.Context(), tool{dir: dir, args: []string{"/bin/sh", "-c", script}})
		t.Fatalf("the tool ended: %v", err)
	}
	dir := t.TempDir()
	builder := exec.Command(os.Args[0], "-test.run=^TestToolsDieWithTheBuilder$")
	builder.Env = append(os.Environ(), where+"="+dir, "TMPDIR="+dir) // what it leaves goes with dir
	if err := builder.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return exists(filepath.Join(dir, "pid")) })
	if err := builder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = builder.Wait() // it was killed
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}
