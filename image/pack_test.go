package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestPackAndUnpack(t *testing.T) {
	dir := write(t, map[string]string{
		"agent.py": "print(1)", "!run": "#!/bin/sh\n", "lib/a.py": "a", "empty/": "", "data/deep/er/x.txt": "x",
		".git/config": "", ".venv/bin/python": "", "node_modules/m/index.js": "", "lib/__pycache__/a.pyc": "",
		"secret.env": "", "data/big.bin": "", "logs/today.log": "", "logs/keep.log": "",
		".isoldeignore": "# not these\n*.env\ndata/*.bin\nlogs/*\n!logs/keep.log\n",
	})
	if err := os.Symlink("../agent.py", filepath.Join(dir, "lib", "link.py")); err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := Pack(&first, dir); err != nil {
		t.Fatal(err)
	}
	_ = os.Chtimes(filepath.Join(dir, "agent.py"), epoch, epoch)
	if err := Pack(&second, dir); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("packing twice gives different streams")
	}
	to := t.TempDir()
	if err := Unpack(&first, to, 1<<20); err != nil {
		t.Fatal(err)
	}
	want := []string{".isoldeignore", "agent.py", "data/deep/er/x.txt", "lib/a.py", "lib/link.py", "logs/keep.log", "run"}
	if diff := cmp.Diff(want, names(t, os.DirFS(to), ".")); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(to, "run")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("run: %v %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(to, "empty")); err != nil || !info.IsDir() {
		t.Errorf("empty folder: %v", err)
	}
}

func TestPackRefusesLinksOut(t *testing.T) {
	for name, links := range map[string]map[string]string{
		"absolute": {"l": "/etc/passwd"},
		"upwards":  {"l": "../../etc/passwd"},
		"chained":  {"a/b/up": "../..", "l": "a/b/up/../passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"a/b/f": ""})
			for at, target := range links {
				if err := os.Symlink(target, filepath.Join(dir, at)); err != nil {
					t.Fatal(err)
				}
			}
			refused(t, Pack(io.Discard, dir), isolde.CodeInvalid, "leads out of the agent's folder")
		})
	}
}

func archive(t testing.TB, entries ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := strings.Repeat("x", int(h.Size))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3} }

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
}

func TestUnpackRefuses(t *testing.T) {
	good := archive(t, file("a"))
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"upwards":            {archive(t, file("../evil")), "leads out of the folder"},
		"upwards inside":     {archive(t, file("a/../../evil")), "leads out of the folder"},
		"absolute":           {archive(t, file("/etc/evil")), "has an absolute name"},
		"backslash":          {archive(t, file(`..\evil`)), "has a name that is not possible"},
		"long name":          {archive(t, file(strings.Repeat("n", 300))), "longer than 255 bytes"},
		"deep":               {archive(t, file(strings.Repeat("d/", 150)+"f")), "in more than 100 folders"},
		"link upwards":       {archive(t, link("l", "../evil")), "link that leads out"},
		"link absolute":      {archive(t, link("l", "/etc")), "link that leads out"},
		"links together":     {archive(t, link("a/b/up", "../.."), link("l", "a/b/up/../evil")), "link that leads out"},
		"through a link":     {archive(t, link("l", "d"), file("l/evil")), "below l, which is no folder"},
		"through a file":     {archive(t, file("f"), file("f/evil")), "below f, which is no folder"},
		"over a link":        {archive(t, link("l", "x"), file("l")), "is there twice"},
		"link over a file":   {archive(t, file("l"), link("l", "x")), "is there twice"},
		"folder over a file": {archive(t, file("l"), tar.Header{Name: "l/", Typeflag: tar.TypeDir}), "is there twice"},
		"twice":              {archive(t, file("a"), file("./a")), "is there twice"},
		"hard link":          {archive(t, file("a"), tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}), "is a hard link"},
		"device":             {archive(t, tar.Header{Name: "d", Typeflag: tar.TypeChar}), "neither a file"},
		"pipe":               {archive(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}), "neither a file"},
		"too large":          {archive(t, tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 1001}), "more than 0.0 MB"},
		"cut off":            {good[:513], "archive is broken"},
		"no archive":         {bytes.Repeat([]byte("nonsense"), 100), "archive is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in", "here")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Unpack(bytes.NewReader(c.archive), dir, 1000)
			e, ok := errors.AsType[*isolde.Error](err)
			if !ok || e.Code != isolde.CodeInvalid || !strings.Contains(e.Message, c.want) {
				t.Errorf("Unpack: %v; want %q", err, c.want)
			}
			staysWithin(t, outer, dir)
		})
	}
}

func TestUnpackBoundsEntries(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for range maxEntries + 1 {
		_ = w.WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755})
	}
	w.Close()
	refused(t, Unpack(&b, t.TempDir(), 1000), isolde.CodeInvalid, "more than 200000 entries")
}

// staysWithin checks that there is nothing in outer but dir, and no link in
// dir that leads out.
func staysWithin(t *testing.T, outer, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range names(t, os.DirFS(outer), ".") {
		rel, err := filepath.Rel(dir, filepath.Join(outer, name))
		if err != nil || strings.HasPrefix(rel, "..") {
			t.Errorf("written outside: %s", name)
			continue
		}
		if _, err := root.Stat(rel); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", rel, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, file("a"), link("l", "a")))
	f.Add(archive(f, link("a/b/up", "../.."), link("l", "a/b/up/../evil"), file("l/x")))
	f.Add(archive(f, file("../evil")))
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(bytes.NewReader(b), dir, 1<<16)
		staysWithin(t, outer, dir)
	})
}

// TestUnpackCountsFolders that no entry of the archive is for.
func TestUnpackCountsFolders(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	u := &unpacker{root: root, seen: map[string]fs.FileMode{}, advice: advice{smaller: "less"}}
	for i := range maxEntries - 5 {
		u.seen[strconv.Itoa(i)] = 0
	}
	if err := u.entry(nil, &tar.Header{Name: "a/b/", Typeflag: tar.TypeDir}); err != nil {
		t.Fatal(err)
	}
	refused(t, u.entry(nil, &tar.Header{Name: "a/b/c/d/e/f/g", Typeflag: tar.TypeReg}), isolde.CodeInvalid, "more than 200000 entries")
}
