package need

import (
	"strconv"
	"syscall"
	"testing"
)

// SmallDisk needs root, and returns a folder that is a file system of so many
// bytes. What is still open in it when the test ends is an error.
func SmallDisk(t testing.TB, bytes int) string {
	t.Helper()
	Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("isolde-test", dir, "tmpfs", 0, "size="+strconv.Itoa(bytes)); err != nil {
		missing(t, "root", "cannot mount a file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error("something is left open: ", err)
		}
	})
	return dir
}
