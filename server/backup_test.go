package server

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sqlite"
)

// dataDir makes a data directory of files by name; a value that begins with
// "->" is a link, one that is "/" a folder.
func dataDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		at, content := filepath.Join(dir, name), files[name]
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch {
		case err != nil:
		case content == "/":
			err = os.MkdirAll(at, 0o700)
		case len(content) > 2 && content[:2] == "->":
			err = os.Symlink(content[2:], at)
		default:
			err = os.WriteFile(at, []byte(content), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newBackup is a backup of a data directory with a database in it, and whether
// images are held.
func newBackup(t *testing.T, dir string) (b backup, held *bool) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := os.MkdirAll(filepath.Join(dir, tempDir), 0o700); err != nil {
		t.Fatal(err)
	}
	held = new(bool)
	return backup{
		dir: dir, copy: store.Backup, manifest: BackupManifest{Version: "v1", Region: "eu-west-1", Account: "123456789012"},
		hold: func() func() {
			*held = true
			return func() { *held = false }
		},
	}, held
}

// entries reads an archive: what its files hold, where its links lead.
func entries(t *testing.T, r io.Reader) (names []string, content map[string]string) {
	t.Helper()
	content = make(map[string]string)
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return names, content
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		content[h.Name] = string(text)
		if h.Typeflag == tar.TypeSymlink {
			content[h.Name] = "->" + h.Linkname
		}
	}
}

func TestBackupIsADataDirectory(t *testing.T) {
	dir := dataDir(t, map[string]string{
		"images/images/one.json": "{}", "images/images/one.erofs": "root", "images/oci/index.json": "{}",
		"images/tmp/123/half": "x", "images/layers": "/",
		"images/code/one/tmp/kept":                "y",
		"images/dependencies/modules/index.js":    "z",
		"images/code/one/own":                     "->tmp/kept",
		"images/code/one/etc":                     "->/etc/hosts",
		"objects/buckets/builds/bucket.json":      "{}",
		"objects/buckets/builds/a1":               "zip",
		"objects/tmp/upload":                      "x",
		"identity.json":                           "{}",
		"logs/session.log":                        "said",
		"lock":                                    "1",
		"sandboxes/process/s0000000000/code/a.py": "x",
	})
	modules := filepath.Join(dir, "images/dependencies/modules")
	if err := os.Symlink(modules, filepath.Join(dir, "images/code/one/node_modules")); err != nil {
		t.Fatal(err)
	}
	b, held := newBackup(t, dir)
	var out bytes.Buffer
	if err := b.write(t.Context(), &out, false); err != nil {
		t.Fatal(err)
	}
	names, got := entries(t, &out)
	var m BackupManifest
	if err := json.Unmarshal([]byte(got["manifest.json"]), &m); err != nil || names[0] != "manifest.json" {
		t.Errorf("manifest %q, %v, the first is %s", got["manifest.json"], err, names[0])
	}
	if m.Version != "v1" || m.Region != "eu-west-1" || m.Schema < 2 || m.CreatedAt.IsZero() || m.DatabaseOnly {
		t.Errorf("manifest is %+v", m)
	}
	database := filepath.Join(t.TempDir(), databaseFile)
	if err := os.WriteFile(database, []byte(got[databaseFile]), 0o600); err != nil {
		t.Fatal(err)
	}
	if store, err := sqlite.Open(t.Context(), database); err != nil {
		t.Errorf("the copied database: %v", err)
	} else {
		store.Close()
	}
	delete(got, "manifest.json")
	delete(got, databaseFile)
	want := map[string]string{
		"images/": "", "images/images/": "", "images/images/one.json": "{}", "images/images/one.erofs": "root",
		"images/oci/": "", "images/oci/index.json": "{}", "images/layers/": "",
		"images/code/": "", "images/code/one/": "", "images/code/one/tmp/": "", "images/code/one/tmp/kept": "y",
		"images/code/one/own": "->tmp/kept", "images/code/one/etc": "->/etc/hosts",
		"images/code/one/node_modules": "->../../dependencies/modules",
		"images/dependencies/":         "", "images/dependencies/modules/": "", "images/dependencies/modules/index.js": "z",
		"objects/": "", "objects/buckets/": "", "objects/buckets/builds/": "", "objects/buckets/builds/bucket.json": "{}", "objects/buckets/builds/a1": "zip",
		"identity.json": "{}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the archive (-want +got):\n%s", diff)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, tempDir)); len(left) > 0 || *held {
		t.Errorf("left behind: %v; images held: %v", left, *held)
	}
}

func TestBackupOfTheDatabaseOnly(t *testing.T) {
	b, _ := newBackup(t, dataDir(t, map[string]string{"images/images/one.json": "{}", "identity.json": "{}"}))
	var out bytes.Buffer
	if err := b.write(t.Context(), &out, true); err != nil {
		t.Fatal(err)
	}
	names, got := entries(t, &out)
	if diff := cmp.Diff([]string{"manifest.json", databaseFile}, names); diff != "" || !bytes.Contains([]byte(got["manifest.json"]), []byte(`"databaseOnly": true`)) {
		t.Errorf("%s\n%s", got["manifest.json"], diff)
	}
}

// TestImagesThatAreALink: an operator may keep them on another disk.
func TestImagesThatAreALink(t *testing.T) {
	elsewhere := dataDir(t, map[string]string{"images/one.json": "{}", "tmp/half": "x"})
	b, _ := newBackup(t, dataDir(t, map[string]string{"images": "->" + elsewhere}))
	var out bytes.Buffer
	if err := b.write(t.Context(), &out, false); err != nil {
		t.Fatal(err)
	}
	names, _ := entries(t, &out)
	if diff := cmp.Diff([]string{"manifest.json", databaseFile, "images/", "images/images/", "images/images/one.json"}, names); diff != "" {
		t.Error(diff)
	}
}

// writes counts what is written, and does something at each.
type writes func(p []byte) error

func (f writes) Write(p []byte) (int, error) { return len(p), f(p) }

func TestObjectsMayGoMeanwhile(t *testing.T) {
	for gone, test := range map[string]struct {
		when string // this is written
		want error
	}{
		"objects/buckets/builds/b2":          {"builds/a1", nil},
		"objects/buckets/other":              {"builds/a1", nil},
		"objects/buckets/builds/bucket.json": {"builds/a1", fs.ErrNotExist}, // no bucket, but objects
		"images/images/one.json":             {"images/images/a", fs.ErrNotExist},
	} {
		dir := dataDir(t, map[string]string{
			"images/images/a": "", "images/images/one.json": "{}", "objects/buckets/builds/a1": "x",
			"objects/buckets/builds/b2": "x", "objects/buckets/builds/bucket.json": "{}", "objects/buckets/other/bucket.json": "{}",
		})
		b, _ := newBackup(t, dir)
		err := b.write(t.Context(), writes(func(p []byte) error {
			if bytes.Contains(p, []byte(test.when)) {
				return os.RemoveAll(filepath.Join(dir, gone))
			}
			return nil
		}), false)
		if !errors.Is(err, test.want) {
			t.Errorf("%s goes meanwhile: %v, want %v", gone, err, test.want)
		}
	}
}

func TestBackupThatFails(t *testing.T) {
	dir := dataDir(t, map[string]string{"images/images/one.erofs": "root"})
	b, held := newBackup(t, dir)
	full := errors.New("disk full")
	var wrote int
	count := writes(func(p []byte) error { wrote += len(p); return nil })

	copied := b.copy
	b.copy = func(context.Context, string) error { return full }
	if err := b.write(t.Context(), count, false); !errors.Is(err, full) || wrote > 0 {
		t.Errorf("a copy that fails: %v after %d bytes", err, wrote)
	}
	b.copy = copied
	if err := b.write(t.Context(), writes(func([]byte) error { return full }), false); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
	cause := isolde.Errorf(isolde.CodeUnavailable, "enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := b.write(ctx, writes(func([]byte) error { cancel(cause); return nil }), false)
	if !errors.Is(err, cause) {
		t.Errorf("a caller that leaves: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, tempDir)); len(left) > 0 || *held {
		t.Errorf("left behind: %v; images held: %v", left, *held)
	}
}
