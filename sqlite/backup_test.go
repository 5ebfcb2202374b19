package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestBackupOfWhatChanges(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var made atomic.Int64
	made.Store(1)
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				once := isolde.Once{Operation: "Update", Token: fmt.Sprint(w, " ", i)}
				if _, err := s.AddVersion(context.Background(), once, v); err != nil {
					t.Error(err)
				}
				made.Add(1)
			}
		})
	}
	dir := t.TempDir()
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprint("copy ", i, "?.db"))
		before := made.Load()
		if err := s.Backup(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		after := made.Load() + 3 // those that were not counted yet
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("copy: %v, %v", info.Mode(), err)
		}
		c := open(t, path)
		got, es, vs, err := c.Serving(t.Context(), string(r.ID))
		if err != nil || len(vs) != 1 || vs[0].Number != got.Latest || es[0].Version != got.Latest {
			t.Errorf("serving of the copy = %+v, %+v, %+v, %v", got, es, vs, err)
		}
		if n := int64(got.Latest); n < before || n > after {
			t.Errorf("the copy has %d versions; there were %d to %d", n, before, after)
		}
		rows := dump(t, c)
		if len(rows["versions"]) != int(got.Latest) || len(rows["tokens"]) != int(got.Latest)-1 {
			t.Errorf("the copy of %d versions has %d, and %d tokens", got.Latest, len(rows["versions"]), len(rows["tokens"]))
		}
		damage, err := list(t.Context(), c.read, scanText, `PRAGMA integrity_check`)
		if diff := cmp.Diff([]string{"ok"}, damage); err != nil || diff != "" {
			t.Errorf("integrity: %v %s", err, diff)
		}
		add(t, c, v, isolde.StatusReady, 1) // it is a store of its own
		c.Close()
	}
	stop()
	wg.Wait()
}

func TestBackupThatCannotBe(t *testing.T) {
	s := openNew(t)
	create(t, s, "alpha")
	dir := t.TempDir()
	there := filepath.Join(dir, "there.db")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "backup to a file that exists", s.Backup(t.Context(), there), isolde.CodeConflict)
	if text, err := os.ReadFile(there); string(text) != "mine" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	wantCode(t, "backup to no folder", s.Backup(t.Context(), filepath.Join(dir, "no", "copy.db")), isolde.CodeInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, filepath.Join(dir, "copy.db")); err == nil {
		t.Error("a backup after its time succeeded")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
