package image

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// TestPackLocalModules builds what was packed elsewhere: the modules that the
// go.mod names by their folders came along.
func TestPackLocalModules(t *testing.T) {
	need.Command(t, "go")
	repo := write(t, map[string]string{
		"lib/go.mod": "module example.com/lib\n\ngo 1.26\n", "lib/lib.go": "package lib\n\nconst Name = \"lib\"\n",
		"lib/lib_test.go": "package lib\n", "lib/testdata/x": "", "lib/.git/config": "", "lib/nested/go.mod": "module example.com/lib/nested\n",
		"other/go.mod": "module example.com/other\n\ngo 1.26\n", "other/other.go": "package other\n\nconst Name = \"other\"\n",
		"agent/mine/go.mod": "module example.com/mine\n\ngo 1.26\n", "agent/mine/mine.go": "package mine\n\nconst Name = \"mine\"\n",
		"agent/go.mod": "module agent\n\ngo 1.26\n\nrequire (\n\texample.com/lib v0.0.0\n\texample.com/other v0.1.0\n\texample.com/mine v0.0.0\n)\n\n" +
			"replace example.com/lib => ../lib // in this repository\n\nreplace (\n\texample.com/other v0.1.0 => \"../other\"\n\texample.com/mine => ./mine\n)\n",
		"agent/main.go": "package main\n\nimport (\n\t\"example.com/lib\"\n\t\"example.com/mine\"\n\t\"example.com/other\"\n)\n\nfunc main() { println(lib.Name, mine.Name, other.Name) }\n",
	})
	var stream bytes.Buffer
	if err := Pack(&stream, filepath.Join(repo, "agent")); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := Unpack(&stream, to, 1<<20); err != nil {
		t.Fatal(err)
	}
	want := []string{
		".isolde-modules/1/go.mod", ".isolde-modules/1/lib.go", ".isolde-modules/2/go.mod", ".isolde-modules/2/other.go",
		"go.mod", "main.go", "mine/go.mod", "mine/mine.go",
	}
	if diff := cmp.Diff(want, names(t, os.DirFS(to), ".")); diff != "" {
		t.Errorf("packed (-want +got):\n%s", diff)
	}
	img := mustBuild(t, open(t, Config{}), Source{Dir: to})
	if out := runHost(t, img); out != "lib mine other\n" {
		t.Errorf("it says %q", out)
	}
	if got := names(t, root(t, img), "app"); slices.ContainsFunc(got, func(name string) bool { return strings.Contains(name, localModules) }) {
		t.Errorf("the image holds %v", got)
	}
}

func TestPackMissingModule(t *testing.T) {
	dir := write(t, map[string]string{"go.mod": "module agent\n\nreplace example.com/lib => ../nowhere\n"})
	err := Pack(&bytes.Buffer{}, dir)
	if isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), `go.mod replaces a module with "../nowhere", which is no module`) {
		t.Errorf("got %v", err)
	}
}
