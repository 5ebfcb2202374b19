package need

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// tryNetNS makes a network namespace on a thread that ends with it.
func tryNetNS() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		result <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	return <-result
}
