package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// withStorage is a bed whose agents have session storage. The fake driver
// makes no volumes, so tests write to their files themselves.
func withStorage(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.m.Close()
		b.cfg.StorageDir = t.TempDir()
		b.launch.Spec.Volumes = []sandbox.Volume{{Path: "/mnt/data", Bytes: 1 << 20}}
		b.open()
		f(t, b)
	})
}

// write starts the session and writes to its volume, whose file it returns.
func (b *bed) write(text string) string {
	b.t.Helper()
	b.acquire(key).Release()
	file := b.sandbox().Spec.Volumes[0].File
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func (b *bed) end() {
	b.t.Helper()
	if err := b.m.Stop(auth.Unbound(b.t.Context()), key, isolde.EndCaller, "was stopped"); err != nil {
		b.t.Fatal(err)
	}
}

// kept starts the session and reads what its volume holds; empty if it is new.
func (b *bed) kept() string {
	b.t.Helper()
	b.acquire(key).Release()
	text, err := os.ReadFile(b.sandbox().Spec.Volumes[0].File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return string(text)
}

func TestStorageIsKept(t *testing.T) {
	withStorage(t, func(t *testing.T, b *bed) {
		mine := b.write("kept")
		b.end()
		time.Sleep(13 * 24 * time.Hour)
		if got := b.kept(); got != "kept" {
			t.Errorf("after a stop it holds %q", got)
		}
		b.end()
		time.Sleep(13 * 24 * time.Hour) // since the last use, not since the first
		b.m.Close()
		b.open()
		if got := b.kept(); got != "kept" {
			t.Errorf("after a restart of the server it holds %q", got)
		}
		other := isolde.SessionKey{Runtime: key.Runtime, Session: "session-000000000000000000000000000002"}
		time.Sleep(time.Second)
		b.acquire(other).Release()
		for _, s := range b.fake.Sandboxes() {
			if s.Spec.Labels[labelSession] == string(other.Session) && s.Spec.Volumes[0].File == mine {
				t.Error("two sessions share a volume")
			}
		}
		list := b.m.Storages(key.Runtime)
		if len(list) != 2 || list[0].Key != other || !list[0].Running || list[1].Version != 3 || list[1].Bytes == 0 {
			t.Errorf("Storages = %+v", list)
		}
		if b.launch.Spec.Volumes[0].File != "" {
			t.Error("the launch of all sessions was changed")
		}
		b.end()
	})
}

func TestStorageOfNobodyGoes(t *testing.T) {
	withStorage(t, func(t *testing.T, b *bed) {
		file := b.write("old")
		b.end()
		time.Sleep(keepStorage + 25*time.Hour)
		synctest.Wait()
		if _, err := os.Stat(filepath.Dir(file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
		if got := b.kept(); got != "" {
			t.Errorf("it holds %q", got)
		}
		b.end()
	})
}

func TestStorageOfARunningSessionStays(t *testing.T) {
	withStorage(t, func(t *testing.T, b *bed) {
		file := b.write("used")
		old := time.Now().Add(-2 * keepStorage)
		if err := os.Chtimes(filepath.Join(filepath.Dir(file), storageRecordFile), old, old); err != nil {
			t.Fatal(err)
		}
		b.m.removeOldStorage()
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		if err := b.m.RemoveStorage(key); isolde.CodeOf(err) != isolde.CodeConflict {
			t.Errorf("remove: %v", err)
		}
		b.m.CollectStorage(func(isolde.RuntimeID, isolde.VersionNumber) bool { return false })
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		b.end()
		if err := b.m.RemoveStorage(key); err != nil {
			t.Error(err)
		}
		if err := b.m.RemoveStorage(key); isolde.CodeOf(err) != isolde.CodeNotFound {
			t.Errorf("remove again: %v", err)
		}
	})
}

func TestStorageIsOfOneVersion(t *testing.T) {
	withStorage(t, func(t *testing.T, b *bed) {
		b.write("of version 3")
		b.end()
		b.m.CollectStorage(func(id isolde.RuntimeID, v isolde.VersionNumber) bool { return id == key.Runtime && v == 3 })
		if got := b.kept(); got != "of version 3" {
			t.Errorf("it holds %q", got)
		}
		b.end()
		b.launch.Version = 4
		if got := b.kept(); got != "" {
			t.Errorf("version 4 finds %q", got)
		}
		b.end()
		b.m.CollectStorage(func(_ isolde.RuntimeID, v isolde.VersionNumber) bool { return v == 5 })
		if list := b.m.Storages(""); len(list) != 0 {
			t.Errorf("Storages = %+v", list)
		}
	})
}

func TestStorageIsOfOneOwner(t *testing.T) {
	withStorage(t, func(t *testing.T, b *bed) {
		find := func(ctx context.Context) string {
			t.Helper()
			l, err := b.m.Acquire(ctx, key, b.launch)
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			text, _ := os.ReadFile(b.sandbox().Spec.Volumes[0].File)
			return string(text)
		}
		find(as(t, "ada"))
		b.write("of ada")
		b.end()
		if got := find(auth.Unbound(t.Context())); got != "of ada" {
			t.Errorf("the operator finds %q", got)
		}
		b.end()
		clear(b.store.records) // then nothing else tells whose the id was
		if got := find(as(t, "ada")); got != "of ada" {
			t.Errorf("ada finds %q", got)
		}
		b.end()
		clear(b.store.records)
		if got := find(as(t, "bob")); got != "" {
			t.Errorf("bob finds %q", got)
		}
		b.write("of bob")
		b.end()
		clear(b.store.records)
		if got := find(t.Context()); got != "" {
			t.Errorf("somebody who is not known finds %q", got)
		}
		b.end()
	})
}

func TestStorageGoesWithItsRuntime(t *testing.T) {
	withStorage(t, func(t *testing.T, b *bed) {
		file := b.write("gone")
		b.end()
		if err := b.m.RemoveStorages(key.Runtime); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
		if err := b.m.RemoveStorages(key.Runtime); err != nil {
			t.Errorf("remove again: %v", err)
		}
	})
}
