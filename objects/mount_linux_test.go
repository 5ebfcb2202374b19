package objects

import "syscall"

// mountSmall mounts a disk of 8 MiB.
func mountSmall(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m") }
