package session

import (
	"os"

	"golang.org/x/sys/unix"
)

// punchHole frees the disk blocks before an offset and keeps the file's size.
func punchHole(f *os.File, before int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, before)
}

// firstData is the offset of the first byte that is not in a hole.
func firstData(f *os.File) int64 {
	at, err := f.Seek(0, unix.SEEK_DATA)
	if err != nil {
		return 0
	}
	return at
}
