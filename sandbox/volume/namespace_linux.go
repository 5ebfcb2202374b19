package volume

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNamespace runs f on a thread with a mount namespace of its own: what f
// mounts is seen by the processes it starts, and nobody else, and goes with
// the last of them.
func InNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // it cannot end, and /proc/self tells of it
			done <- InNamespace(f)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the thread ends with this goroutine.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			done <- fmt.Errorf("make mount namespace: %w", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			done <- fmt.Errorf("keep mounts apart from the host's: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Bind mounts a folder below a folder of the host on another folder, in the
// mount namespace of the calling thread. Links within are followed as long as
// they stay there. Setuid programs and device nodes have no effect; flags are
// further ones of mount(2).
func Bind(root, name, folder string, flags uintptr) error {
	top, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer top.Close()
	dir, err := top.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if fi, err := dir.Stat(); err != nil || !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", dir.Name())
	}
	// By the descriptor: what was looked at is what is mounted.
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), folder, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dir.Name(), err)
	}
	if err := unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dir.Name(), err)
	}
	return nil
}
