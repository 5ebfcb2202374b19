package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// openUnnamed makes a file that never has a name, where the file system can;
// others get one for a moment.
func openUnnamed(folder string) (*os.File, error) {
	if f, err := os.OpenFile(folder, unix.O_TMPFILE|os.O_RDWR, 0o600); err == nil {
		return f, nil
	}
	return removeAfterOpen(folder)
}
