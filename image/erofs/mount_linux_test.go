package erofs_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// requireMount skips where the kernel cannot mount EROFS for this user.
func requireMount(t *testing.T) {
	t.Helper()
	if known, _ := os.ReadFile("/proc/filesystems"); !strings.Contains(string(known), "\terofs\n") {
		t.Skip("this kernel has no EROFS")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil || os.Geteuid() != 0 {
		t.Skip("mounting needs root and loop devices")
	}
}

// mount mounts an image for the time of the test.
func mount(t *testing.T, image, at string) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "erofs", "-o", "loop,ro", image, at).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}
