package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
)

// patience bounds the wait for a sandbox that has ended to let go of its
// volume: the kernel writes first what it held back.
const patience = 30 * time.Second

// Available tells whether volumes can be mounted here; CodeUnsupported with
// the reason and a hint if not.
func Available() error {
	if os.Geteuid() != 0 {
		return isolde.Errorf(isolde.CodeUnsupported, "session storage needs root, to mount it").WithHint("sudo isolde serve")
	}
	if _, err := tool("mkfs.ext4"); err != nil {
		return err
	}
	if _, err := os.Stat(loopControl); err != nil {
		return isolde.Errorf(isolde.CodeUnsupported, "session storage needs loop devices: %w", err).
			WithHint("modprobe loop; in a container: docker run --privileged -v /dev:/dev")
	}
	return nil
}

// tool finds a program of e2fsprogs, which PATH may not lead to.
func tool(name string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", isolde.Errorf(isolde.CodeUnsupported, "session storage needs %s, which is not here", name).WithHint("install e2fsprogs")
}

// Mount mounts the volume on a folder, in the mount namespace of the calling
// thread, and makes it before if there is none. Setuid programs and device
// nodes in it have no effect; flags are further ones of mount(2). Errors:
// CodeConflict when another sandbox has it and does not end.
func (v Volume) Mount(ctx context.Context, folder string, flags uintptr) error {
	if _, err := os.Stat(v.File); errors.Is(err, fs.ErrNotExist) {
		if err := v.create(ctx); err != nil {
			return fmt.Errorf("make volume: %w", err)
		}
	}
	file, err := lock(ctx, v.File)
	if err != nil {
		return err
	}
	defer file.Close()
	err = mount(file, folder, flags)
	if errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EINVAL) {
		// Damaged, such as by a disk that lost writes.
		if err := repair(ctx, v.File); err != nil {
			return err
		}
		err = mount(file, folder, flags)
	}
	if err != nil {
		return fmt.Errorf("mount volume: %w", err)
	}
	return v.tidy(folder)
}

// create makes the file under another name first: it is there whole or not at
// all.
func (v Volume) create(ctx context.Context) (err error) {
	mkfs, err := tool("mkfs.ext4")
	if err != nil {
		return err
	}
	bytes := max(v.Bytes, MinBytes)
	unfinished := v.File + ".new"
	f, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(unfinished)
	// The journal and the tables are not the agent's.
	size := bytes + bytes/16 + 16<<20
	if err := errors.Join(f.Truncate(size&^(blockSize-1)), f.Close()); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mkfs, "-q", "-F", "-b", strconv.Itoa(blockSize), "-i", "8192", "-m", "0", "-J", "size=8",
		"-O", "^resize_inode,metadata_csum", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", unfinished)
	// Not to write on if this process dies: the next one begins with the same
	// file. The thread is the caller's, and does not end before.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(unfinished, v.File)
}

// blockSize is the file system's and the loop device's: that of nearly all
// disks, so that the loop device reads and writes the file directly.
const blockSize = 4096

// tidy makes a new file system the agent's: empty, and its own. What tells
// that it is new goes last.
func (v Volume) tidy(folder string) error {
	found := filepath.Join(folder, "lost+found")
	if _, err := os.Lstat(found); err != nil {
		return nil
	}
	if err := errors.Join(os.Chown(folder, int(v.UID), int(v.GID)), os.Chmod(folder, 0o755)); err != nil {
		return fmt.Errorf("prepare volume: %w", err)
	}
	_ = os.Remove(found) // stays with what a repair has put there
	return nil
}

// repair corrects what can be corrected without a question.
func repair(ctx context.Context, file string) error {
	fsck, err := tool("e2fsck")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, fsck, "-p", file).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() < 4 {
		return nil // it had something to correct, and did
	}
	if err != nil {
		return isolde.Errorf(isolde.CodeInternal, "the session's storage is damaged").
			WithHint("isolde session storage rm drops it; %s -y %s may save some of it", fsck, file).
			WithCause(fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))))
	}
	return nil
}

// lock opens a volume's file and locks it, once whoever has it lets go. The
// lock is of the open file, which a loop device keeps open. A volume in use may
// be removed all the same: whoever has it keeps a file without a name.
func lock(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) || !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, errInUse(name)
		}
	}
}
