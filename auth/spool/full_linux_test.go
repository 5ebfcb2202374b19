package spool

import (
	"bytes"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// TestDiskFull: a disk with less room than the budget says is like a used-up
// budget, and what was written of the body is gone.
func TestDiskFull(t *testing.T) {
	dir := need.SmallDisk(t, 1<<20)
	s := New(chunkSize, limit, dir)
	if b, err := s.Read(bytes.NewReader(random(limit)), -1, limit); isolde.CodeOf(err) != isolde.CodeThrottled {
		t.Errorf("%v, %v", b, err)
	}
	empty(t, s, chunkSize, limit)
	b, err := s.Read(bytes.NewReader(random(1<<20)), -1, limit)
	if err != nil {
		t.Fatal("a body that fits: ", err)
	}
	b.Close()
	empty(t, s, chunkSize, limit)
}
