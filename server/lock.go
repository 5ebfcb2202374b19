package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/isolde-run/isolde"
)

// lockDir makes this process the only server on a data directory. The lock
// goes with the process, however it ends.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data directory: %w", err)
	}
	// A child that a killed server was about to start has its lock for a moment.
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		defer f.Close()
		var pid [32]byte
		n, _ := f.ReadAt(pid[:], 0)
		return nil, isolde.Errorf(isolde.CodeConflict, "another server (pid %s) uses the data directory %s", strings.TrimSpace(string(pid[:n])), dir).
			WithHint("stop it, or name another directory with --data-dir")
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f.Close, nil
}
