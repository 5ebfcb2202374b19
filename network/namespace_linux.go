package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// A namespace is an open network namespace. The descriptor keeps it alive, as
// does the mount at its path, if there is one.
type namespace struct {
	fd   int
	path string
}

// openNamespace opens the namespace mounted at path. An error that is
// fs.ErrNotExist says that there is none, also when a plain file was left
// there by a machine that was switched off.
func openNamespace(path string) (*namespace, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open namespace", Path: path, Err: os.ErrNotExist}
	}
	return &namespace{fd: fd, path: path}, nil
}

// newNamespace makes a network namespace, runs prepare on a thread inside it
// and mounts it at path, in this order: a namespace that can be found is
// prepared.
func newNamespace(path string, prepare func() error) (_ *namespace, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, err
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		if err := prepare(); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount network namespace: %w", err)
		}
		return nil
	})
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return openNamespace(path)
}

// do runs f on a thread inside the namespace. f must not start goroutines
// that are meant to be inside too.
func (ns *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// lock keeps other servers from choosing addresses in the namespace at the same
// time. The lock goes with the process.
func (ns *namespace) lock() (unlock func(), err error) {
	for {
		if err = unix.Flock(ns.fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock network namespace: %w", err)
	}
	return func() { _ = unix.Flock(ns.fd, unix.LOCK_UN) }, nil
}

// close closes the descriptor and leaves the mount.
func (ns *namespace) close() {
	if ns.fd >= 0 {
		unix.Close(ns.fd)
		ns.fd = -1
	}
}

// onThread runs f on a thread of its own, and puts the thread back into the
// namespace it came from. A thread for which that fails is never used again.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		origin, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer unix.Close(origin)
		err = f()
		if unix.Setns(origin, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// unmountNamespace takes away the mount at path and the file under it.
// Idempotent.
func unmountNamespace(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue // nothing else may be mounted over it, but look
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "unmount", Path: path, Err: err}
		}
		break
	}
	// Removing the file detaches copies of the mount that other mount
	// namespaces may hold.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// setSysctl writes a value under /proc/sys/net of the thread's namespace.
func setSysctl(name, value string) error {
	return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
}

// disableIPv6 switches IPv6 off for the namespace's interfaces. A kernel
// without IPv6 has nothing to switch off.
func disableIPv6() error {
	for _, which := range []string{"default", "all"} {
		err := setSysctl("ipv6/conf/"+which+"/disable_ipv6", "1")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("switch IPv6 off: %w", err)
		}
	}
	return nil
}
