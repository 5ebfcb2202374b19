package sqlite

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/internal/need"
)

// smallDisk mounts a file system of 2 MiB for the test. block fills it up, and
// returns what frees the space.
func smallDisk(t *testing.T) (dir string, block func() (free func())) {
	t.Helper()
	dir = need.SmallDisk(t, 2<<20)
	return dir, func() func() {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := io.Copy(f, zeros{}); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		return func() {
			if err := os.Remove(f.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestFullDisk(t *testing.T) {
	dir, block := smallDisk(t)
	s := open(t, filepath.Join(dir, "isolde.db"))
	_, v := create(t, s, "alpha")
	free := block()
	wantFull(t, "adding versions", fill(t, s, v))
	wantWhole(t, s)
	wantFull(t, "backup", s.Backup(t.Context(), filepath.Join(dir, "copy.db")))
	if left, _ := filepath.Glob(filepath.Join(dir, "*copy*")); len(left) > 0 {
		t.Errorf("left of the backup: %v", left)
	}
	free()
	if err := s.Backup(t.Context(), filepath.Join(dir, "copy.db")); err != nil {
		t.Errorf("backup with space again = %v", err)
	}
	wantFull(t, "filling it again", fill(t, s, v))
	wantWhole(t, s)
}

func TestOpenOnAFullDisk(t *testing.T) {
	dir, block := smallDisk(t)
	path := filepath.Join(dir, "isolde.db")
	free := block()
	_, err := Open(t.Context(), path)
	wantFull(t, "open of a new database", err)
	free()

	s := open(t, path)
	create(t, s, "alpha")
	before := dump(t, s)
	s.Close()
	first := filepath.Join(dir, "first.db")
	makeFirst(t, first)
	free = block()
	for _, path := range []string{path, first} {
		_, err = Open(t.Context(), path)
		wantFull(t, "open of "+path, err)
	}
	free()
	if diff := cmp.Diff(before, dump(t, open(t, path))); diff != "" {
		t.Errorf("with space again (-want +got):\n%s", diff)
	}
	if n := len(dump(t, open(t, first))["versions"]); n != 3 {
		t.Errorf("the database of schema 1 has %d versions", n)
	}
}
