package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
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

// at is a time in the resolution the store keeps.
func at(minute int) time.Time { return time.Date(2026, 11, 22, 12, minute, 0, 123456000, time.UTC) }

func runtimeOf(name string) (isolde.AgentRuntime, isolde.Version) {
	id := isolde.RuntimeID(name + "-0123456789")
	r := isolde.AgentRuntime{ID: id, Name: name, Status: isolde.StatusReady, Latest: 1, CreatedAt: at(0), UpdatedAt: at(0)}
	v := isolde.Version{Runtime: id, Number: 1, Image: "sha256:1", Status: isolde.StatusReady, CreatedAt: at(0), Spec: isolde.VersionSpec{
		Entrypoint: []string{"agent.py"}, Environment: map[string]string{"A": "b=c"}, Lifecycle: isolde.Lifecycle{IdleTimeout: 60},
	}}
	return r, v
}

func create(t *testing.T, s *Store, name string) (isolde.AgentRuntime, isolde.Version) {
	t.Helper()
	r, v := runtimeOf(name)
	if err := s.CreateRuntime(t.Context(), r, v); err != nil {
		t.Fatal(err)
	}
	return r, v
}

func TestRuntimesAreThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with space & question?.db")
	s := open(t, path)
	r, v := create(t, s, "alpha")
	s.Close()

	s = open(t, path)
	for _, by := range []string{string(r.ID), r.Name} {
		got, err := s.Runtime(t.Context(), by)
		if diff := cmp.Diff(r, got); err != nil || diff != "" {
			t.Errorf("runtime by %q: %v (-want +got):\n%s", by, err, diff)
		}
	}
	versions, err := s.Versions(t.Context(), r.ID)
	if diff := cmp.Diff([]isolde.Version{v}, versions); err != nil || diff != "" {
		t.Errorf("versions: %v (-want +got):\n%s", err, diff)
	}
	endpoints, err := s.Endpoints(t.Context(), r.ID)
	want := []isolde.Endpoint{{Runtime: r.ID, Name: "DEFAULT", Version: 1, Status: isolde.StatusReady, CreatedAt: at(0), UpdatedAt: at(0)}}
	if diff := cmp.Diff(want, endpoints); err != nil || diff != "" {
		t.Errorf("endpoints: %v (-want +got):\n%s", err, diff)
	}
}

func TestNameIsUnique(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	create(t, s, "alpha")
	r, v := runtimeOf("alpha")
	r.ID, v.Runtime = "alpha-9876543210", "alpha-9876543210"
	if err := s.CreateRuntime(t.Context(), r, v); isolde.CodeOf(err) != isolde.CodeConflict {
		t.Errorf("second runtime of the name = %v", err)
	}
	if vs, err := s.Versions(t.Context(), r.ID); err != nil || len(vs) != 0 {
		t.Errorf("half of it was stored: %v, %v", vs, err)
	}
}

func TestDefaultFollowsReadyVersionsOnly(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	r, v := create(t, s, "alpha")
	for i, status := range []isolde.Status{isolde.StatusReady, isolde.StatusCreateFailed} {
		v.Status, v.CreatedAt = status, at(i+1)
		got, err := s.CreateVersion(t.Context(), v)
		if err != nil || got.Number != isolde.VersionNumber(i+2) {
			t.Fatalf("version = %d, %v", got.Number, err)
		}
	}
	es, err := s.Endpoints(t.Context(), r.ID)
	if err != nil || es[0].Version != 2 {
		t.Errorf("DEFAULT = %+v, %v; want version 2", es, err)
	}
	if got, _ := s.Runtime(t.Context(), r.Name); got.Latest != 3 {
		t.Errorf("latest = %d, want 3", got.Latest)
	}
	v.Runtime = "nobody-0123456789"
	if _, err := s.CreateVersion(t.Context(), v); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("version of no runtime = %v", err)
	}
}

func TestRuntimesByPage(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	for _, name := range []string{"c", "a", "b"} {
		create(t, s, name)
	}
	var names []string
	for after := ""; ; {
		page, err := s.Runtimes(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			names = append(names, r.Name)
		}
		after = page[len(page)-1].Name
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestSessionsGoWithTheirRuntime(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	r, _ := create(t, s, "alpha")
	running := isolde.Session{Runtime: r.ID, ID: "s1", State: isolde.SessionIdle, StartedAt: at(1), LastError: &isolde.AgentError{Message: "m", Time: at(2)}}
	ended := isolde.Session{Runtime: r.ID, ID: "s2", State: isolde.SessionStopped, StartedAt: at(2), EndedAt: at(3), EndReason: "was idle"}
	for _, x := range []isolde.Session{running, ended, running} {
		if err := s.PutSession(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		ended bool
		want  []isolde.Session
	}{{true, []isolde.Session{ended, running}}, {false, []isolde.Session{running}}} {
		got, err := s.Sessions(t.Context(), "", test.ended, 0)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("sessions, ended too: %v: %v (-want +got):\n%s", test.ended, err, diff)
		}
	}
	if err := s.DeleteRuntime(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sessions(t.Context(), "", true, 0); err != nil || len(got) != 0 {
		t.Errorf("sessions after delete = %v, %v", got, err)
	}
	if err := s.PutSession(t.Context(), running); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("session of a deleted runtime = %v", err)
	}
	if err := s.DeleteRuntime(t.Context(), r.ID); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("second delete = %v", err)
	}
}

func TestOldSessionsAreForgottenAtOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	r, _ := create(t, s, "alpha")
	old := isolde.Session{Runtime: r.ID, ID: "s1", StartedAt: at(0), EndedAt: time.Now().Add(-15 * 24 * time.Hour)}
	if err := s.PutSession(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got, err := open(t, path).Sessions(t.Context(), "", true, 0); err != nil || len(got) != 0 {
		t.Errorf("sessions = %v, %v", got, err)
	}
}

func TestDatabaseOfANewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	open(t, path).Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(t.Context(), path); isolde.CodeOf(err) != isolde.CodeConflict || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("open = %v", err)
	}
}

func TestWritersDoNotCollide(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	r, v := create(t, s, "alpha")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := s.CreateVersion(context.Background(), v); err != nil {
				t.Error(err)
			}
			if err := s.PutSession(context.Background(), isolde.Session{Runtime: r.ID, ID: isolde.SessionID(fmt.Sprint(i)), StartedAt: at(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	vs, err := s.Versions(t.Context(), r.ID)
	if err != nil || len(vs) != 21 || vs[0].Number != 21 {
		t.Errorf("%d versions, newest %d, %v", len(vs), vs[0].Number, err)
	}
}
