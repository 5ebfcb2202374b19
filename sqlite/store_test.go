package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// openNew opens a database that is new.
func openNew(t *testing.T) *Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "isolde.db"))
}

// at is a time in the resolution the store keeps.
func at(minute int) time.Time { return time.Date(2026, 11, 22, 12, minute, 0, 123456000, time.UTC) }

// runtimeOf is a runtime and its first version, both READY.
func runtimeOf(name string) (isolde.AgentRuntime, isolde.Version) {
	id := isolde.RuntimeID(name + "-0123456789")
	r := isolde.AgentRuntime{
		ID: id, Name: name, Status: isolde.StatusReady, Latest: 1, Description: "of " + name,
		CreatedAt: at(0), UpdatedAt: at(0),
	}
	v := isolde.Version{
		Runtime: id, Number: 1, Image: "sha256:1", Status: isolde.StatusReady, CreatedAt: at(0), UpdatedAt: at(0),
		Spec: isolde.VersionSpec{
			Description: r.Description, Entrypoint: []string{"agent.py"},
			Environment: map[string]string{"A": "b=c"}, Lifecycle: isolde.Lifecycle{IdleTimeout: 60},
		},
	}
	return r, v
}

// create stores a runtime that is READY.
func create(t *testing.T, s *Store, name string) (isolde.AgentRuntime, isolde.Version) {
	t.Helper()
	r, v := runtimeOf(name)
	c, err := s.CreateRuntime(t.Context(), isolde.Once{}, r, v, nil)
	if diff := cmp.Diff(isolde.Change{Runtime: r, Version: v}, c); err != nil || diff != "" {
		t.Fatalf("create runtime: %v (-want +got):\n%s", err, diff)
	}
	return r, v
}

// add stores the next version of a runtime.
func add(t *testing.T, s *Store, v isolde.Version, status isolde.Status, minute int) isolde.Version {
	t.Helper()
	v.Status, v.CreatedAt, v.UpdatedAt = status, at(minute), at(minute)
	c, err := s.AddVersion(t.Context(), isolde.Once{}, v)
	if err != nil {
		t.Fatal(err)
	}
	return c.Version
}

// endpoint is the endpoint of the name, as it is stored.
func endpoint(t *testing.T, s *Store, id isolde.RuntimeID, name isolde.EndpointName) isolde.Endpoint {
	t.Helper()
	all, err := s.Endpoints(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no endpoint %s among %v", name, all)
	return isolde.Endpoint{}
}

// wantCode fails the test unless err has the code.
func wantCode(t *testing.T, what string, err error, want isolde.Code) {
	t.Helper()
	if got := isolde.CodeOf(err); got != want {
		t.Errorf("%s = %v (%s), want %s", what, err, got, want)
	}
}

// dump is all that a store holds, by table.
func dump(t *testing.T, s *Store) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for table, columns := range map[string]string{
		"runtimes":  runtimeColumns + `, tags, policy`,
		"versions":  versionColumns,
		"endpoints": endpointColumns + `, tags, policy`,
		"sessions":  `runtime_id, id, ended_at, started_at, record`,
		"tokens":    `operation, token, digest, result`,
	} {
		rows, err := list(context.Background(), s.read, scanText, `SELECT json_array(`+columns+`) FROM `+table+` ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		all[table] = rows
	}
	return all
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with space & question?.db")
	s := open(t, path)
	r, v := runtimeOf("alpha")
	tags := map[string]string{"team": "x", "ümlaut": "ß"}
	once := isolde.Once{Operation: "CreateAgentRuntime", Token: "t", Digest: "d"}
	made, err := s.CreateRuntime(t.Context(), once, r, v, tags)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = open(t, path)
	for _, by := range []string{string(r.ID), r.Name} {
		got, err := s.Runtime(t.Context(), by)
		if diff := cmp.Diff(r, got); err != nil || diff != "" {
			t.Errorf("runtime by %q: %v (-want +got):\n%s", by, err, diff)
		}
	}
	versions, err := s.Versions(t.Context(), r.ID, 0, 0)
	if diff := cmp.Diff([]isolde.Version{v}, versions); err != nil || diff != "" {
		t.Errorf("versions: %v (-want +got):\n%s", err, diff)
	}
	endpoints, err := s.Endpoints(t.Context(), r.ID)
	want := []isolde.Endpoint{{
		Runtime: r.ID, Name: "DEFAULT", Version: 1, Target: 1,
		Status: isolde.StatusReady, CreatedAt: at(0), UpdatedAt: at(0),
	}}
	if diff := cmp.Diff(want, endpoints); err != nil || diff != "" {
		t.Errorf("endpoints: %v (-want +got):\n%s", err, diff)
	}
	if got, err := s.Tags(t.Context(), isolde.Resource{Runtime: r.ID}); err != nil || !maps.Equal(tags, got) {
		t.Errorf("tags = %v, %v", got, err)
	}
	again, err := s.Repeated(t.Context(), once)
	if diff := cmp.Diff(&made, again); err != nil || diff != "" {
		t.Errorf("repeated: %v (-want +got):\n%s", err, diff)
	}
}

func TestWritersDoNotCollide(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx := context.Background()
			if _, err := s.AddVersion(ctx, isolde.Once{Operation: "Update", Token: fmt.Sprint(i)}, v); err != nil {
				t.Error(err)
			}
			if err := s.PutSession(ctx, isolde.Session{Runtime: r.ID, ID: isolde.SessionID(fmt.Sprint(i)), StartedAt: at(i)}); err != nil {
				t.Error(err)
			}
			if err := s.ChangeTags(ctx, isolde.Resource{Runtime: r.ID}, map[string]string{fmt.Sprint(i): "x"}, nil); err != nil {
				t.Error(err)
			}
			// A reader sees one moment: the newest version is there, and DEFAULT serves it.
			r, es, vs, err := s.Serving(ctx, r.Name)
			if err != nil || len(es) != 1 || len(vs) != 1 || es[0].Version != r.Latest || vs[0].Number != r.Latest {
				t.Errorf("serving = %+v, %+v, %+v, %v", r, es, vs, err)
			}
		})
	}
	wg.Wait()
	vs, err := s.Versions(t.Context(), r.ID, 0, 0)
	if err != nil || len(vs) != 21 || vs[0].Number != 21 {
		t.Errorf("%d versions, newest %d, %v", len(vs), vs[0].Number, err)
	}
	if tags, err := s.Tags(t.Context(), isolde.Resource{Runtime: r.ID}); err != nil || len(tags) != 20 {
		t.Errorf("tags = %v, %v", tags, err)
	}
}

// TestChangeIsMadeOrNot ends changes at any moment: one that returns an error
// was not made, one that returns none was.
func TestChangeIsMadeOrNot(t *testing.T) {
	s := openNew(t)
	_, v := create(t, s, "alpha")
	began := time.Now()
	for range 10 {
		add(t, s, v, isolde.StatusReady, 1)
	}
	usual := time.Since(began) / 10
	made, failed := 11, 0
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), usual*time.Duration(i)/100)
		once := isolde.Once{Operation: "Update", Token: fmt.Sprint(i)}
		_, err := s.AddVersion(ctx, once, v)
		cancel()
		if err == nil {
			made++
		} else {
			failed++
		}
		c, errToken := s.Repeated(t.Context(), once)
		if errToken != nil || (c != nil) != (err == nil) {
			t.Fatalf("change %d returned %v, and its token stands for %v, %v", i, err, c, errToken)
		}
	}
	t.Logf("%d were made, %d were not", made, failed)
	r, _, vs, err := s.Serving(t.Context(), "alpha")
	if err != nil || int(r.Latest) != made || len(vs) != 1 || int(vs[0].Number) != made {
		t.Errorf("after %d versions: %+v, %+v, %v", made, r, vs, err)
	}
	if n := len(dump(t, s)["versions"]); n != made {
		t.Errorf("%d versions, want %d", n, made)
	}
}

func TestContextThatEndsWithinAChangeUndoesIt(t *testing.T) {
	s := openNew(t)
	create(t, s, "alpha")
	before := dump(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE runtimes SET name = 'beta'`); err != nil {
			return err
		}
		cancel()
		for { // until it was undone under our feet
			if _, err := tx.Exec(`SELECT 1`); errors.Is(err, sql.ErrTxDone) {
				return nil
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("change = %v", err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("something was changed (-want +got):\n%s", diff)
	}
	create(t, s, "gamma") // the connection serves others
}
