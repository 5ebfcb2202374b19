package image

import (
	"runtime"
	"syscall"
)

// dieTogether has a process that is about to be started killed when this one
// dies. That of the thread which starts it counts as such, and so it is held
// until release is called.
func dieTogether(attr *syscall.SysProcAttr) (release func()) {
	attr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
