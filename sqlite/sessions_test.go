package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestSessionsGoWithTheirRuntime(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	running := isolde.Session{Runtime: r.ID, ID: "s1", State: isolde.SessionIdle, StartedAt: at(1), LastError: &isolde.AgentError{Message: "m", Time: at(2)}}
	ended := isolde.Session{Runtime: r.ID, ID: "s2", State: isolde.SessionStopped, StartedAt: at(2), EndedAt: time.Now().UTC().Truncate(time.Microsecond), EndReason: "was idle"}
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
	byID, err := s.SessionsByID(t.Context(), "s1")
	if diff := cmp.Diff([]isolde.Session{running}, byID); err != nil || diff != "" {
		t.Errorf("sessions by id: %v (-want +got):\n%s", err, diff)
	}
	if err := s.DeleteRuntime(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sessions(t.Context(), "", true, 0); err != nil || len(got) != 0 {
		t.Errorf("sessions after delete = %v, %v", got, err)
	}
	wantCode(t, "session of a deleted runtime", s.PutSession(t.Context(), running), isolde.CodeNotFound)
}

func TestOldSessionsAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	r, _ := create(t, s, "alpha")
	old := isolde.Session{Runtime: r.ID, ID: "s1", StartedAt: at(0), EndedAt: time.Now().Add(-15 * 24 * time.Hour)}
	if err := s.PutSession(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sessions(t.Context(), "", true, 0); err != nil || len(got) != 0 {
		t.Errorf("sessions = %v, %v", got, err)
	}
	if _, err := s.write.Exec(`INSERT INTO sessions VALUES (?, 's2', 1, 1, '{}')`, r.ID); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got, err := open(t, path).Sessions(t.Context(), "", true, 0); err != nil || len(got) != 0 {
		t.Errorf("sessions after opening = %v, %v", got, err)
	}
}
