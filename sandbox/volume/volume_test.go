//go:build linux

package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// inVolume runs f where the volume is mounted.
func inVolume(t *testing.T, v Volume, f func(dir string) error) error {
	t.Helper()
	dir := t.TempDir()
	return InNamespace(func() error {
		if err := v.Mount(t.Context(), dir, 0); err != nil {
			return err
		}
		return f(dir)
	})
}

func newVolume(t *testing.T) Volume {
	t.Helper()
	need.Root(t)
	need.Command(t, "mkfs.ext4")
	if err := Available(); err != nil {
		t.Fatal(err)
	}
	return Volume{File: filepath.Join(t.TempDir(), "volume"), Bytes: 64 << 20, UID: 1234, GID: 1235}
}

func TestVolume(t *testing.T) {
	v := newVolume(t)
	err := inVolume(t, v, func(dir string) error {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			return fmt.Errorf("a new volume holds %v, %w", entries, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil || st.Uid != v.UID || st.Gid != v.GID || st.Mode&0o7777 != 0o755 {
			t.Errorf("owner %d:%d, mode %o, %v", st.Uid, st.Gid, st.Mode, err)
		}
		// What it is made for is there, beside what the file system needs.
		if err := os.WriteFile(filepath.Join(dir, "all"), make([]byte, v.Bytes), 0o600); err != nil {
			t.Errorf("%d bytes do not fit: %v", v.Bytes, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, v.Bytes/4), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a quarter more: %v, want ENOSPC", err)
		}
		if table, err := os.ReadFile("/proc/1/mountinfo"); err != nil || bytes.Contains(table, []byte(dir)) {
			t.Errorf("the host sees the mount (%v)", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	full := onDisk(t, v)
	err = inVolume(t, v, func(dir string) error {
		err := errors.Join(os.Remove(filepath.Join(dir, "all")), os.Remove(filepath.Join(dir, "more")),
			os.WriteFile(filepath.Join(dir, "note"), []byte("kept"), 0o600))
		d, err2 := os.Open(dir)
		if err2 == nil { // a commit of the journal, after which the blocks are given back
			err2 = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
		}
		for deadline := time.Now().Add(20 * time.Second); onDisk(t, v) > full/4; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("the file takes %d bytes of the disk after what took %d was removed", onDisk(t, v), full)
				break
			}
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = inVolume(t, v, func(dir string) error {
		if got, err := os.ReadFile(filepath.Join(dir, "note")); err != nil || string(got) != "kept" {
			t.Errorf("read %q, %v", got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func onDisk(t *testing.T, v Volume) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(v.File, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestVolumeInUse(t *testing.T) {
	v := newVolume(t)
	err := inVolume(t, v, func(string) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := v.Mount(ctx, t.TempDir(), 0); isolde.CodeOf(err) != isolde.CodeConflict {
			t.Errorf("mount again: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A volume whose superblock is lost is repaired with a copy of it, or the
// error says that it is damaged.
func TestDamagedVolume(t *testing.T) {
	v := newVolume(t)
	if err := inVolume(t, v, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(v.File, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	err = inVolume(t, v, func(string) error { return nil })
	if err != nil && !strings.Contains(isolde.AsError(err).Message, "damaged") {
		t.Errorf("mount: %v", err)
	}
}

func TestBindStaysBelow(t *testing.T) {
	need.Root(t)
	top := t.TempDir()
	for _, dir := range []string{"in/side", "out"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"good": "side", "up": "../out", "absolute": "/etc"} {
		if err := os.Symlink(to, filepath.Join(top, "in", name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, good := range map[string]bool{".": true, "side": true, "good": true, "up": false, "absolute": false, "../out": false, "missing": false} {
		err := InNamespace(func() error { return Bind(filepath.Join(top, "in"), name, filepath.Join(top, "out"), 0) })
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
