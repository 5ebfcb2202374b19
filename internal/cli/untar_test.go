package cli

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// archive makes one whose files hold their names.
func archive(t *testing.T, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// tree lists the files and folders below a folder, with their modes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if name, _ := filepath.Rel(dir, p); name != "." {
			out[name] = info.Mode().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUntar(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}
	}
	for name, test := range map[string]struct {
		entries []tar.Header
		want    map[string]string
		skipped []string
		refused bool
	}{
		"a folder": {
			entries: []tar.Header{{Name: "top/", Typeflag: tar.TypeDir, Mode: 0o700}, file("top/a"), file("top/sub/b")},
			want:    map[string]string{"top": "drwxr-xr-x", "top/a": "-rw-r--r--", "top/sub": "drwxr-xr-x", "top/sub/b": "-rw-r--r--"},
		},
		"a file":             {entries: []tar.Header{file("top")}, want: map[string]string{"top": "-rw-r--r--"}},
		"a mode that is too": {entries: []tar.Header{{Name: "top", Typeflag: tar.TypeReg, Mode: 0o6755}}, want: map[string]string{"top": "-rwxr-xr-x"}},
		"links and devices": {
			entries: []tar.Header{
				link("top/link", "/etc/passwd"),
				{Name: "top/hard", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
				{Name: "top/dev", Typeflag: tar.TypeChar},
				file("top/a"),
			},
			want:    map[string]string{"top": "drwxr-xr-x", "top/a": "-rw-r--r--"},
			skipped: []string{"top/link", "top/hard", "top/dev"},
		},
		"a way through a link": {
			entries: []tar.Header{link("top/out", ".."), file("top/out/evil")},
			want:    map[string]string{"top": "drwxr-xr-x", "top/out": "drwxr-xr-x", "top/out/evil": "-rw-r--r--"},
			skipped: []string{"top/out"},
		},
		"a parent":           {entries: []tar.Header{file("top/../../evil")}, refused: true},
		"a parent at first":  {entries: []tar.Header{file("../evil")}, refused: true},
		"an absolute name":   {entries: []tar.Header{file("/etc/evil")}, refused: true},
		"another name":       {entries: []tar.Header{file("other")}, refused: true},
		"no name":            {entries: []tar.Header{file(".")}, refused: true},
		"the same twice":     {entries: []tar.Header{file("top"), file("top")}, refused: true},
		"a file as a folder": {entries: []tar.Header{file("top"), file("top/a")}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "in")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			got, err := untar(archive(t, test.entries...), dir, "top")
			if (err != nil) != test.refused {
				t.Fatalf("untar = %v", err)
			}
			if outside, _ := os.ReadDir(parent); len(outside) != 1 {
				t.Errorf("it wrote outside: %v", outside)
			}
			if test.refused {
				return
			}
			if diff := cmp.Diff(test.want, tree(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.skipped, got.skipped); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
		})
	}
	_, err := untar(archive(t, file("../evil")), t.TempDir(), "top")
	if isolde.CodeOf(err) != isolde.CodeAgent {
		t.Errorf("a name that leads out is %v", err)
	}
}

func TestTarTreeComesBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "sub", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "sub", "run"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("run", filepath.Join(from, "sub", "link")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarTree(&b, from, "top"); err != nil {
		t.Fatal(err)
	}
	got, err := untar(&b, to, "top")
	if err != nil || len(got.skipped) != 1 {
		t.Fatalf("untar = %+v, %v", got, err)
	}
	want := map[string]string{"top": "drwxr-xr-x", "top/sub": "drwxr-xr-x", "top/sub/empty": "drwxr-xr-x", "top/sub/run": "-rwxr-xr-x"}
	if diff := cmp.Diff(want, tree(t, to)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
