package sqlite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// fill adds versions until that fails, which must not take more than many.
func fill(t *testing.T, s *Store, v isolde.Version) error {
	t.Helper()
	v.Spec.Description = strings.Repeat("x", 4000)
	for i := range 5000 {
		if _, err := s.AddVersion(t.Context(), isolde.Once{Operation: "Update", Token: fmt.Sprint(i)}, v); err != nil {
			return err
		}
	}
	t.Fatal("5000 versions of 4 kB fit")
	return nil
}

// wantWhole fails the test unless every change is there as a whole.
func wantWhole(t *testing.T, s *Store) {
	t.Helper()
	r, es, _, err := s.Serving(t.Context(), "alpha")
	if err != nil || es[0].Version != r.Latest {
		t.Errorf("serving = %+v, %+v, %v", r, es, err)
	}
	rows := dump(t, s)
	if len(rows["versions"]) != int(r.Latest) || len(rows["tokens"]) != int(r.Latest)-1 {
		t.Errorf("of %d changes there are %d versions and %d tokens", r.Latest, len(rows["versions"]), len(rows["tokens"]))
	}
}

// wantFull fails the test unless err tells a person that the disk is full.
func wantFull(t *testing.T, what string, err error) {
	t.Helper()
	e := isolde.AsError(err)
	if err == nil || !strings.Contains(e.Message, "full") || !strings.Contains(e.Hint, "free space") {
		t.Errorf("%s = %v", what, err)
	}
}

func TestFullDatabase(t *testing.T) {
	s := openNew(t)
	_, v := create(t, s, "alpha")
	if _, err := s.write.Exec(`PRAGMA max_page_count = 100`); err != nil {
		t.Fatal(err)
	}
	wantFull(t, "adding versions", fill(t, s, v))
	wantWhole(t, s)
	before := dump(t, s)
	v.Spec.Description = strings.Repeat("x", 4000)
	for range 3 { // the connection is not stuck in a transaction
		_, err := s.AddVersion(t.Context(), isolde.Once{}, v)
		wantFull(t, "another version", err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("something was changed (-want +got):\n%s", diff)
	}
	if _, err := s.write.Exec(`PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddVersion(t.Context(), isolde.Once{Operation: "Update", Token: "after"}, v); err != nil {
		t.Errorf("with space again = %v", err)
	}
	wantWhole(t, s)
}
