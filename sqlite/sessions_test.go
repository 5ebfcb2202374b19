package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

func TestEndedSessionsArePaged(t *testing.T) {
	s := openNew(t)
	alpha, _ := create(t, s, "alpha")
	beta, _ := create(t, s, "beta")
	now := time.Now().UTC().Truncate(time.Microsecond)
	var want []isolde.Session // newest first
	for i := range 20 {
		r := isolde.Session{
			Runtime: alpha.ID, ID: isolde.SessionID(fmt.Sprintf("s%02d", i)), State: isolde.SessionStopped, User: "ann",
			StartedAt: now, EndedAt: now.Add(-time.Duration(i/3) * time.Second), // three at a time
		}
		if i%2 == 0 {
			r.User = "bob"
		}
		if i%3 == 2 {
			r.Runtime = beta.ID
		}
		if err := s.PutSession(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	running := isolde.Session{Runtime: alpha.ID, ID: "running", State: isolde.SessionIdle, StartedAt: now}
	if err := s.PutSession(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	for _, q := range []isolde.EndedQuery{{}, {Limit: 1}, {Limit: 7}, {Limit: 3, Runtime: beta.ID}, {Limit: 2, User: "ann"}, {Limit: 4, Prefix: "s1"}} {
		var wanted, got []isolde.Session
		for _, r := range want {
			if (q.Runtime == "" || r.Runtime == q.Runtime) && (q.User == "" || r.User == q.User) && strings.HasPrefix(string(r.ID), q.Prefix) {
				wanted = append(wanted, r)
			}
		}
		for {
			page, err := s.EndedSessions(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if q.Limit == 0 || len(page) < q.Limit {
				break
			}
			q.Before = page[len(page)-1]
		}
		sameMoment := cmpopts.SortSlices(func(a, b isolde.Session) bool { return a.ID < b.ID })
		if diff := cmp.Diff(wanted, got, sameMoment); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", q, diff)
		}
		if !slices.IsSortedFunc(got, func(a, b isolde.Session) int { return b.EndedAt.Compare(a.EndedAt) }) {
			t.Errorf("%+v: not sorted by end", q)
		}
	}
}

func TestExcessEndedSessionsAreForgotten(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	for i := range 10 {
		x := isolde.Session{Runtime: r.ID, ID: isolde.SessionID(fmt.Sprintf("s%d", i)), StartedAt: at(0), EndedAt: time.Now().Add(time.Duration(i-20) * time.Second)}
		if i == 9 {
			x.EndedAt = time.Time{} // it runs
		}
		if err := s.PutSession(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.tx(t.Context(), func(tx *sql.Tx) error { return forgetMoreThan(t.Context(), tx, 4) }); err != nil {
		t.Fatal(err)
	}
	all, err := s.Sessions(t.Context(), "", true, 0)
	var left []isolde.SessionID
	for _, x := range all {
		left = append(left, x.ID)
	}
	slices.Sort(left)
	if diff := cmp.Diff([]isolde.SessionID{"s5", "s6", "s7", "s8", "s9"}, left); err != nil || diff != "" {
		t.Errorf("left: %v (-want +got):\n%s", err, diff)
	}
}
