// Package volume keeps the files of a sandbox over its end, within a bound. A
// volume is one file of the host with an ext4 file system in it, sparse, so
// that it takes what is written and no more.
//
// A driver mounts it in a mount namespace that only the sandbox's processes
// are in. When the last of them ends, however it does, the kernel unmounts the
// file system and frees its loop device: nothing is ever mounted on the host,
// and there is nothing to clean up after a crash or a reboot. The journal
// keeps the file system whole. A volume that is mounted has a lock on its
// file, held by the loop device itself, so that no second sandbox can mount it
// and nobody removes it meanwhile.
//
// The agent writes files, never the file system itself: what the host's kernel
// reads is what the host's kernel wrote.
package volume

import "github.com/isolde-run/isolde"

// Volume is a file with a file system. Pure data.
type Volume struct {
	File     string // host path; made with the first use, in a folder that exists
	Bytes    int64  // what it holds at most, at least MinBytes; of no effect once it is made
	UID, GID uint32 // who its top folder belongs to
}

// MinBytes is the smallest volume that makes sense.
const MinBytes = 16 << 20

// Describe says for people whether volumes can be mounted here.
func Describe() string {
	err := Available()
	if err == nil {
		return "can be mounted"
	}
	e := isolde.AsError(err)
	return e.Message + " (" + e.Hint + ")"
}

// errInUse is that another sandbox has the volume, or has not let go of it yet.
func errInUse(file string) error {
	return isolde.Errorf(isolde.CodeConflict, "the volume %s is in use", file)
}
