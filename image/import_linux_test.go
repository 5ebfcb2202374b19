package image

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// TestImportFullDisk: who imports hears of a full disk, and what was half
// written is gone.
func TestImportFullDisk(t *testing.T) {
	dir := need.SmallDisk(t, 2<<20)
	h := newRegistry(t)
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := h.push(t, "agent", containerOf(t, v1.Config{}, asLayer(t, archive(t, sized("a", 5_000_000)), "gzip")))
	_, err = s.Import(t.Context(), ref, nil)
	refused(t, err, isolde.CodeQuota, "the disk of the image store is full")
	if left := glob(t, s, "oci/blobs/sha256"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
