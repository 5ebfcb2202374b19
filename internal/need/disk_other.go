//go:build !linux

package need

import "testing"

// SmallDisk is for Linux only.
func SmallDisk(t testing.TB, _ int) string {
	t.Helper()
	missing(t, "root", "a small disk is mounted as Linux does")
	return ""
}
