package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// changes are all changes that keep a token, in an order that works.
func changes(s *Store, t *testing.T) []struct {
	operation string
	make      func(isolde.Once) (isolde.Change, error)
} {
	r, v := runtimeOf("alpha")
	v.CreatedAt = time.Now() // finer than what is stored
	v.Spec.Environment = map[string]string{}
	e := isolde.Endpoint{Runtime: r.ID, Name: "prod", Version: 1, Target: 1, CreatedAt: time.Now(), UpdatedAt: time.Now()}
	ctx := t.Context()
	return []struct {
		operation string
		make      func(isolde.Once) (isolde.Change, error)
	}{
		{"create", func(o isolde.Once) (isolde.Change, error) {
			return s.CreateRuntime(ctx, o, r, v, nil)
		}},
		{"update", func(o isolde.Once) (isolde.Change, error) { return s.AddVersion(ctx, o, v) }},
		{"update again", func(o isolde.Once) (isolde.Change, error) { return s.AddVersion(ctx, o, v) }},
		{"delete version", func(o isolde.Once) (isolde.Change, error) {
			return s.DeleteVersion(ctx, o, isolde.Version{Runtime: r.ID, Number: 2})
		}},
		{"create endpoint", func(o isolde.Once) (isolde.Change, error) { return s.CreateEndpoint(ctx, o, e, nil) }},
		{"update endpoint", func(o isolde.Once) (isolde.Change, error) { return s.PutEndpoint(ctx, o, e) }},
		{"delete", func(o isolde.Once) (isolde.Change, error) { return s.SetRuntimeStatus(ctx, o, r) }},
	}
}

func TestChangeIsRepeatedByItsToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	made := make(map[isolde.Once]isolde.Change)
	for _, c := range changes(s, t) {
		once := isolde.Once{Operation: c.operation, Token: "token", Digest: "of " + c.operation}
		if got, err := s.Repeated(t.Context(), once); err != nil || got != nil {
			t.Errorf("%s is repeated before it was made: %v, %v", c.operation, got, err)
		}
		change, err := c.make(once)
		if err != nil {
			t.Fatalf("%s: %v", c.operation, err)
		}
		made[once] = change
	}
	if err := s.DeleteRuntime(t.Context(), "alpha-0123456789"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, path)
	for once, want := range made {
		got, err := s.Repeated(t.Context(), once)
		if diff := cmp.Diff(&want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", once.Operation, err, diff)
		}
		once.Digest = "of another"
		_, err = s.Repeated(t.Context(), once)
		wantCode(t, once.Operation+" of another request", err, isolde.CodeMismatch)
	}
	if got, err := s.Repeated(t.Context(), isolde.Once{Operation: "create"}); err != nil || got != nil {
		t.Errorf("no token = %v, %v", got, err)
	}
}

func TestTokenIsUsedOnce(t *testing.T) {
	s := openNew(t)
	for _, c := range changes(s, t) {
		once := isolde.Once{Operation: c.operation, Token: "taken", Digest: "d"}
		if _, err := s.write.Exec(`INSERT INTO tokens VALUES (?, ?, '', '{}', ?)`, once.Operation, once.Token, micros(time.Now())); err != nil {
			t.Fatal(err)
		}
		before := dump(t, s)
		_, err := c.make(once)
		wantCode(t, c.operation, err, isolde.CodeConflict)
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Errorf("%s was made nevertheless (-want +got):\n%s", c.operation, diff)
		}
		if _, err := c.make(isolde.Once{}); err != nil {
			t.Fatalf("%s: %v", c.operation, err)
		}
	}
}

func TestTokensAreForgottenAfterADay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	steps := changes(s, t)
	once := isolde.Once{Operation: "create", Token: "token", Digest: "d"}
	old := func() {
		t.Helper()
		if _, err := s.write.Exec(`UPDATE tokens SET created_at = ?`, micros(time.Now().Add(-25*time.Hour))); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Repeated(t.Context(), isolde.Once{Operation: "create", Token: "token", Digest: "other"}); err != nil || got != nil {
			t.Errorf("repeated after a day = %v, %v", got, err)
		}
	}
	if _, err := steps[0].make(once); err != nil {
		t.Fatal(err)
	}
	old()
	if _, err := steps[1].make(once); err != nil { // takes the token anew
		t.Fatal(err)
	}
	if n := len(dump(t, s)["tokens"]); n != 1 {
		t.Errorf("%d tokens are kept", n)
	}
	old()
	s.Close()
	s = open(t, path)
	if n := len(dump(t, s)["tokens"]); n != 0 {
		t.Errorf("%d tokens are kept after opening", n)
	}
}
