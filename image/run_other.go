//go:build !linux

package image

import "syscall"

// dieTogether does nothing: other systems have no such signal.
func dieTogether(*syscall.SysProcAttr) (release func()) { return func() {} }
