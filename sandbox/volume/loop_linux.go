package volume

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
)

const loopControl = "/dev/loop-control"

// mount mounts the file system in a file by way of a loop device that goes
// with the mount.
func mount(file *os.File, folder string, flags uintptr) error {
	device, err := attach(file)
	if err != nil {
		return err
	}
	defer device.Close()
	// Blocks that are freed are given back to the host's disk.
	return unix.Mount(device.Name(), folder, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME|flags, "discard,noinit_itable,errors=remount-ro")
}

// attach gives a file to a free loop device, which is freed with its last
// user: the descriptor returned, or what is mounted by then.
func attach(file *os.File) (*os.File, error) {
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: blockSize}
	// Without a cache of its own: the file system on it has one.
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file.Name())
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		device, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR, 0)
		if err != nil { // a container's /dev does not follow the kernel
			return nil, isolde.Errorf(isolde.CodeUnsupported, "session storage needs another loop device: %w", err).
				WithHint("in a container: docker run --privileged -v /dev:/dev")
		}
		if err = unix.IoctlLoopConfigure(int(device.Fd()), &config); err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return nil, fmt.Errorf("set up loop device: %w", err)
		}
		// Somebody else was faster.
	}
}
