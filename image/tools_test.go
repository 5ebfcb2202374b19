package image

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/internal/need"
)

// TestToolsRunInTheSkeleton changes root into what every image has, and uses it.
func TestToolsRunInTheSkeleton(t *testing.T) {
	need.Root(t)
	all, err := skeleton()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for name, e := range all {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.mode.IsDir():
			err = os.MkdirAll(file, 0o755)
		case e.mode&fs.ModeSymlink != 0:
			err = os.Symlink(e.target, file)
		case !strings.HasPrefix(name, zones):
			data := e.data
			if e.from != "" {
				data, err = os.ReadFile(e.from)
			}
			if err == nil {
				err = os.WriteFile(file, data, e.mode.Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, script := range []string{
		`test -n "$BASH_VERSION" && printf 'b\na\n' | sort | tr a-z A-Z | grep -c . | sed s/2/ok/`,
		`ls -l /bin/sh >/dev/null && find /etc -name hosts | wc -l | awk '{ if ($1 == 1) print "ok" }'`,
		`tar -C /etc -czf /tmp/x.tgz hosts && tar -tzf /tmp/x.tgz | grep -q hosts && which env >/dev/null && env echo ok`,
		`/bin/sh -c 'echo ok'`,
	} {
		chroot, err := exec.LookPath("chroot")
		if err != nil {
			t.Fatal(err) // of the coreutils whose like the image has
		}
		cmd := exec.Command(chroot, root, "/bin/bash", "-c", script)
		cmd.Env = []string{"PATH=" + binPath}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ok\n" {
			t.Errorf("%s: %q, %v", script, out, err)
		}
	}
}

// toolNames are the files that images have for commands, and the folders that
// are there for them alone: those that a list of an image's files does not name.
func toolNames(list string) map[string]bool {
	all, names := tree{}, make(map[string]bool)
	all.tools()
	for name := range all {
		for names[name] = true; ; {
			if name = path.Dir(name); name == "." || strings.Contains(list, " "+name+"\n") {
				break
			}
			names[name] = true
		}
	}
	return names
}
