package session

import (
	"os"
	"syscall"
	"testing"
)

// blocks is how much disk a file takes, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}
