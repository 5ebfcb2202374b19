//go:build !linux

package erofs_test

import "testing"

func requireMount(t *testing.T) { t.Skip("only Linux mounts EROFS") }

func mount(*testing.T, string, string) {}
