package spool

import (
	"os"
	"path/filepath"
)

// removeAfterOpen makes a file and takes its name away.
func removeAfterOpen(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, ".body-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(folder, filepath.Base(f.Name()))); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
