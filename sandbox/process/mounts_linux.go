package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/volume"
)

// mountRoot is where volumes and mounts are.
const mountRoot = "/mnt"

// withMounts runs f on a thread that sees the volumes and mounts of spec, as
// the processes do that it starts.
func withMounts(ctx context.Context, spec sandbox.Spec, f func() error) error {
	return volume.InNamespace(func() error {
		var paths []string
		for _, v := range spec.Volumes {
			paths = append(paths, v.Path)
		}
		for _, m := range spec.Mounts {
			paths = append(paths, m.Path)
		}
		if err := makeMountPoints(paths); err != nil {
			return fmt.Errorf("make mount points: %w", err)
		}
		for _, v := range spec.Volumes {
			v, path := volume.Volume{File: v.File, Bytes: v.Bytes, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}, v.Path
			if err := v.Mount(ctx, path, 0); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		for _, m := range spec.Mounts {
			var flags uintptr
			if m.ReadOnly {
				flags = unix.MS_RDONLY
			}
			if err := volume.Bind(m.Root, m.Folder, m.Path, flags); err != nil {
				return fmt.Errorf("%s: %w", m.Path, err)
			}
		}
		return f()
	})
}

// makeMountPoints makes folders below mountRoot without touching the host's:
// where one is missing, a file system in memory takes the place of mountRoot,
// with all that was there mounted in it.
func makeMountPoints(paths []string) error {
	missing := false
	for _, p := range paths {
		fi, err := os.Stat(p)
		missing = missing || err != nil || !fi.IsDir()
	}
	if !missing {
		return nil
	}
	if _, err := os.Stat(mountRoot); err != nil {
		return fmt.Errorf("%w: this machine needs a folder %s", err, mountRoot)
	}
	before, err := os.Open(mountRoot)
	if err != nil {
		return err
	}
	defer before.Close()
	entries, err := before.ReadDir(-1)
	if err != nil {
		return err
	}
	if err := unix.Mount("isolde", mountRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, e := range entries {
		if err := carryOver(int(before.Fd()), e); err != nil {
			return fmt.Errorf("carry %s over: %w", e.Name(), err)
		}
	}
	for _, p := range paths {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// carryOver makes an entry of a folder appear in mountRoot.
func carryOver(folder int, e fs.DirEntry) error {
	to := filepath.Join(mountRoot, e.Name())
	from := fmt.Sprintf("/proc/self/fd/%d/%s", folder, e.Name())
	switch {
	case e.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
	case e.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		return errors.Join(err, os.Symlink(link, to))
	default:
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			return err
		}
	}
	return unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
}
