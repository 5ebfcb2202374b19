package erofs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	reader "github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde/image/erofs"
)

var epoch = time.Unix(315532800, 0)

func dir(children map[string]*erofs.File) *erofs.File {
	return &erofs.File{Mode: fs.ModeDir | 0o755, ModTime: epoch, Children: children}
}

func file(content string, mode fs.FileMode) *erofs.File {
	return &erofs.File{Mode: mode, ModTime: epoch, UID: 1000, GID: 1001, Source: strings.NewReader(content), Size: int64(len(content))}
}

func link(target string) *erofs.File {
	return &erofs.File{Mode: fs.ModeSymlink | 0o777, ModTime: epoch, Target: target}
}

// sample has what is easy to get wrong: names that sort before ".", a
// directory of several blocks, empty files, sizes around a block, a file that
// the kernel copies, and a hard link.
func sample(t *testing.T) *erofs.File {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("0123456789abcdef"), 20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(large)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	many := map[string]*erofs.File{}
	for i := range 1000 {
		many[fmt.Sprintf("a-rather-long-name-of-an-entry-%04d", i)] = file(fmt.Sprint(i), 0o644)
	}
	shared := file("shared", 0o600)
	return dir(map[string]*erofs.File{
		"!first":   file("!", 0o644),
		"-":        dir(nil),
		"empty":    file("", 0o644),
		"4095":     file(strings.Repeat("x", 4095), 0o755),
		"4096":     file(strings.Repeat("y", 4096), 0o755),
		"4097":     file(strings.Repeat("z", 4097), fs.ModeSetuid|0o755),
		"large":    {Mode: 0o644, ModTime: epoch, Source: f, Offset: 16, Size: 319_984},
		"many":     dir(many),
		"one":      shared,
		"two":      shared,
		"link":     link("many/../one"),
		"deep":     dir(map[string]*erofs.File{"er": dir(map[string]*erofs.File{"file": file("deep", 0o444)})}),
		"tmp":      {Mode: fs.ModeDir | fs.ModeSticky | 0o777, ModTime: epoch},
		"\u00fcml": file("utf-8", 0o644),
	})
}

// write makes an image in a file of the test's.
func write(t *testing.T, root *erofs.File) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.erofs")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := erofs.Write(out, root); err != nil {
		t.Fatal(err)
	}
	return name
}

// want lists a tree as list does.
func want(root *erofs.File) map[string]string {
	m := map[string]string{}
	var walk func(name string, f *erofs.File)
	walk = func(name string, f *erofs.File) {
		var content string
		switch f.Mode.Type() {
		case fs.ModeSymlink:
			content = f.Target
		case 0:
			b := make([]byte, f.Size)
			_, _ = f.Source.ReadAt(b, f.Offset)
			content = string(b)
		}
		m[name] = fmt.Sprintf("%s %s", f.Mode, content)
		for child, c := range f.Children {
			walk(filepath.Join(name, child), c)
		}
	}
	walk(".", root)
	return m
}

// list reads a tree back.
func list(t *testing.T, fsys fs.FS, readlink func(string) (string, error)) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content string
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			if content, err = readlink(name); err != nil {
				return err
			}
		case 0:
			b, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			content = string(b)
		}
		m[name] = fmt.Sprintf("%s %s", info.Mode(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadBack(t *testing.T) {
	root := sample(t)
	f, err := os.Open(write(t, root))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fsys, err := reader.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	got := list(t, fsys, fsys.(interface {
		ReadLink(string) (string, error)
	}).ReadLink)
	expected := want(root)
	for name, bits := range map[string]fs.FileMode{"4097": fs.ModeSetuid, "tmp": fs.ModeSticky} {
		f := root.Children[name] // go-erofs does not tell the special bits; the kernel does
		expected[name] = strings.Replace(expected[name], f.Mode.String(), (f.Mode &^ bits).String(), 1)
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	info, err := fs.Stat(fsys, "one")
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*reader.Stat)
	if st.Nlink != 2 || st.UID != 1000 || st.GID != 1001 || !info.ModTime().Equal(epoch) {
		t.Errorf("one: nlink %d uid %d gid %d time %v", st.Nlink, st.UID, st.GID, info.ModTime())
	}
}

// TestLinuxMounts has the kernel read the image.
func TestLinuxMounts(t *testing.T) {
	requireMount(t)
	root := sample(t)
	at := t.TempDir()
	mount(t, write(t, root), at)
	got := list(t, os.DirFS(at), func(name string) (string, error) { return os.Readlink(filepath.Join(at, name)) })
	if diff := cmp.Diff(want(root), got); diff != "" {
		t.Errorf("mounted (-want +got):\n%s", diff)
	}
	var one, two syscall.Stat_t
	if err := syscall.Stat(filepath.Join(at, "one"), &one); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Stat(filepath.Join(at, "two"), &two); err != nil {
		t.Fatal(err)
	}
	if one.Ino != two.Ino || one.Nlink != 2 {
		t.Errorf("one is inode %d with %d links, two is inode %d", one.Ino, one.Nlink, two.Ino)
	}
}

func TestEqualTreesGiveEqualImages(t *testing.T) {
	a, err := os.ReadFile(write(t, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(write(t, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two images of one tree differ")
	}
}

func TestRefused(t *testing.T) {
	shared := dir(nil)
	for name, c := range map[string]struct {
		root *erofs.File
		want string
	}{
		"device":         {dir(map[string]*erofs.File{"null": {Mode: fs.ModeDevice}}), "neither a file"},
		"empty target":   {dir(map[string]*erofs.File{"l": link("")}), "target of link /l has 0 bytes"},
		"long target":    {dir(map[string]*erofs.File{"l": link(strings.Repeat("x", 5000))}), "5000 bytes"},
		"long name":      {dir(map[string]*erofs.File{strings.Repeat("n", 256): dir(nil)}), "256 bytes"},
		"directory link": {dir(map[string]*erofs.File{"a": shared, "b": shared}), "two names"},
		"short source":   {dir(map[string]*erofs.File{"f": {Mode: 0o644, Source: strings.NewReader("abc"), Size: 4}}), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			if err := erofs.Write(out, c.root); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Write: %v, want %q", err, c.want)
			}
		})
	}
}
