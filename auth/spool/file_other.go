//go:build !linux

package spool

import "os"

// openUnnamed makes a file whose name is gone when it returns.
func openUnnamed(folder string) (*os.File, error) { return removeAfterOpen(folder) }
