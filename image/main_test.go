package image

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	reader "github.com/erofs/go-erofs"
	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
)

// shared is a store folder for tests that build on this machine's Python,
// whose base layer takes seconds to make.
var shared string

func TestMain(m *testing.M) {
	var err error
	if shared, err = os.MkdirTemp("", "isolde-image-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(shared)
		os.Exit(code)
	}))
}

// write lays out a folder. A name that ends in a slash is an empty folder, one
// with "!" before it is executable.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(name, "!") {
			name, mode = name[1:], 0o755
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			_ = os.Mkdir(file, 0o755)
			continue
		}
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// open opens a store of the test's own, and checks at its end that nothing
// unfinished is left in it.
func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(s.tmp)
		if err != nil || len(left) > 0 {
			t.Errorf("left unfinished in the store: %v %v", left, err)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// steps records progress.
type steps struct {
	mu  sync.Mutex
	all []Progress
}

func (s *steps) add(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p)
}

func (s *steps) saying(text string) (n int) {
	for _, p := range s.all {
		if strings.Contains(p.Message, text) {
			n++
		}
	}
	return n
}

// mustBuild builds, or ends the test.
func mustBuild(t *testing.T, s *Store, src Source) Image {
	t.Helper()
	img, err := s.Build(context.Background(), src, nil)
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return img
}

// root opens an image's EROFS file.
func root(t *testing.T, img Image) fs.FS {
	t.Helper()
	f, err := os.Open(img.Root.Image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fsys, err := reader.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// names lists files and links below a folder of an image.
func names(t *testing.T, fsys fs.FS, dir string) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// refused checks an error for people: its code, a part of its message, and a
// hint.
func refused(t *testing.T, err error, code isolde.Code, message string) {
	t.Helper()
	e, ok := errors.AsType[*isolde.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Message, message) || e.Hint == "" {
		t.Errorf("error: %v\nwant code %s, a message with %q, and a hint", err, code, message)
	}
}

// wheel makes a Python wheel, of the name that the file has, with a module and a command.
func wheel(t *testing.T, file string, requires ...string) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	z := zip.NewWriter(out)
	pkg, _, _ := strings.Cut(filepath.Base(file), "-")
	info := pkg + "-1.0.dist-info/"
	metadata := "Metadata-Version: 2.1\nName: " + pkg + "\nVersion: 1.0\n"
	for _, r := range requires {
		metadata += "Requires-Dist: " + r + "\n"
	}
	files := map[string]string{
		pkg + "/__init__.py":      "WORD = 'hello'\ndef main():\n    import sys\n    print(WORD, *sys.argv[1:])\n",
		info + "METADATA":         metadata,
		info + "WHEEL":            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "entry_points.txt": "[console_scripts]\ngreet = " + pkg + ":main\n",
		info + "RECORD":           "",
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, files[name])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}
