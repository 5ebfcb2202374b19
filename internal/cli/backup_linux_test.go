package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/internal/need"
)

// A disk that fills up is told and leaves no half of a backup.
func TestBackupOnAFullDisk(t *testing.T) {
	dir := need.SmallDisk(t, 256<<10)
	s := newFakeServer()
	defer s.Close()
	var out, errs bytes.Buffer
	code := Main(t.Context(), []string{"backup", filepath.Join(dir, "a.tar")}, nil, &out, &errs, environment(t, s))
	if code != 1 || out.Len() > 0 || !strings.HasPrefix(errs.String(), "error: there is no space left for "+dir) {
		t.Errorf("exit code %d\n%s%s", code, &out, &errs)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
