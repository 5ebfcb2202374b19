package operator

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
)

// use uses sessions as callers of the data plane do, and returns their keys.
func (b *bed) use(t *testing.T, agent isolde.RuntimeID, user string, from, to int) (keys []isolde.SessionKey) {
	t.Helper()
	launch := &session.Launch{Version: 1, Spec: sandbox.Spec{Ports: []int{8080}}}
	for i := from; i < to; i++ {
		key := isolde.SessionKey{Runtime: agent, Session: isolde.SessionID(fmt.Sprintf("session-%026d", i))}
		lease, err := b.sessions.Acquire(t.Context(), key, launch)
		if err != nil {
			t.Fatal(err)
		}
		lease.Identify("", user)
		lease.Release()
		keys = append(keys, key)
	}
	return keys
}

func (b *bed) stop(t *testing.T, keys ...isolde.SessionKey) {
	t.Helper()
	for _, key := range keys {
		if err := b.sessions.Stop(t.Context(), key, isolde.EndCaller, "was stopped by its caller"); err != nil {
			t.Fatal(err)
		}
	}
}

func ids(sessions []Session) []isolde.SessionID {
	var out []isolde.SessionID
	for _, s := range sessions {
		out = append(out, s.ID)
	}
	slices.Sort(out)
	return out
}

func TestSessionsAreFiltered(t *testing.T) {
	b := newBed(t)
	weather, calc := b.deploy(t, "weather", "one").ID, b.deploy(t, "calc", "one").ID
	b.use(t, weather, "ann", 0, 2)
	b.use(t, calc, "bob", 2, 4)
	b.stop(t, b.use(t, weather, "bob", 4, 6)...)
	b.stop(t, b.use(t, calc, "", 6, 7)...)
	for _, test := range []struct {
		filter SessionFilter
		want   []int
	}{
		{SessionFilter{}, []int{0, 1, 2, 3}},
		{SessionFilter{Ended: true}, []int{0, 1, 2, 3, 4, 5, 6}},
		{SessionFilter{Agent: "weather", Ended: true}, []int{0, 1, 4, 5}},
		{SessionFilter{User: "bob", Ended: true}, []int{2, 3, 4, 5}},
		{SessionFilter{User: "bob", Agent: "calc"}, []int{2, 3}},
		{SessionFilter{States: []isolde.SessionState{isolde.SessionStopped}}, []int{4, 5, 6}},
		{SessionFilter{States: []isolde.SessionState{isolde.SessionIdle, isolde.SessionStarting}, Ended: true}, []int{0, 1, 2, 3}},
		{SessionFilter{States: []isolde.SessionState{isolde.SessionActive}}, nil},
		{SessionFilter{Prefix: "session-00000000000000000000000006", Ended: true}, []int{6}},
		{SessionFilter{Prefix: "session-", Agent: string(calc), Ended: true}, []int{2, 3, 6}},
	} {
		var want []isolde.SessionID
		for _, i := range test.want {
			want = append(want, isolde.SessionID(fmt.Sprintf("session-%026d", i)))
		}
		got, err := b.Sessions(t.Context(), test.filter)
		if diff := cmp.Diff(want, ids(got)); err != nil || diff != "" {
			t.Errorf("%+v: %v (-want +got):\n%s", test.filter, err, diff)
		}
	}
	_, err := b.Sessions(t.Context(), SessionFilter{States: []isolde.SessionState{"Asleep"}})
	wantCode(t, "unknown state", err, isolde.CodeInvalid)
	_, err = b.Sessions(t.Context(), SessionFilter{Agent: "nobody"})
	wantCode(t, "unknown agent", err, isolde.CodeNotFound)
}

// TestPagesHoldEverySession reads page by page while sessions come and go;
// those that stay are all there. A page of 5 ends where the running ones do.
func TestPagesHoldEverySession(t *testing.T) {
	b := newBed(t)
	weather := b.deploy(t, "weather", "one").ID
	stay := b.use(t, weather, "", 0, 5)
	ended := b.use(t, weather, "", 5, 9)
	b.stop(t, ended...)
	number := 100
	for _, limit := range []int{2, 4, 5, 6, 9} {
		url := fmt.Sprintf("/isolde/v1/sessions?all=true&limit=%d", limit)
		seen := make(map[isolde.SessionID]int)
		for next := "start"; next != ""; {
			q := ""
			if next != "start" {
				q = "&after=" + next
			}
			page, err := getURL[SessionList](b, t, url+q)
			if err != nil || len(page.Sessions) > limit {
				t.Fatalf("page of %d: %d sessions, %v", limit, len(page.Sessions), err)
			}
			for _, s := range page.Sessions {
				seen[s.ID]++
			}
			next = page.Next
			number++
			b.stop(t, b.use(t, weather, "", number, number+1)...)
		}
		for _, key := range append(stay, ended...) {
			if seen[key.Session] != 1 {
				t.Errorf("with pages of %d, session %s was there %d times", limit, key.Session, seen[key.Session])
			}
		}
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "after=x", "after=e30"} {
		_, err := getURL[SessionList](b, t, "/isolde/v1/sessions?"+bad)
		wantCode(t, bad, err, isolde.CodeInvalid)
	}
}

func getURL[T any](b *bed, t *testing.T, url string) (out T, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return out, readError(resp)
	}
	return decode[T](resp)
}

func TestSessionsAreMeasuredOnRequest(t *testing.T) {
	b := newBed(t)
	b.use(t, b.deploy(t, "weather", "one").ID, "", 0, 40)
	for _, stats := range []bool{false, true} {
		got, err := b.Sessions(t.Context(), SessionFilter{Stats: stats})
		if err != nil || len(got) != 40 {
			t.Fatalf("%d sessions, %v", len(got), err)
		}
		for _, s := range got {
			if measured := s.CPUSeconds > 0 && s.MemoryBytes > 0 && s.CPUPercent != nil; measured != stats {
				t.Errorf("stats %v: %+v", stats, s)
			}
		}
	}
	s, err := b.MeasureSession(t.Context(), "", "session-00000000000000000000000001")
	if err != nil || s.CPUPercent == nil {
		t.Errorf("one session: %+v, %v", s, err)
	}
}

func TestHealthDoesNotExtendTheSession(t *testing.T) {
	b := newBed(t)
	key := b.use(t, b.deploy(t, "weather", "one").ID, "", 0, 1)[0]
	before, err := b.sessions.Session(key)
	if err != nil {
		t.Fatal(err)
	}
	health, err := b.Health(t.Context(), "", key.Session)
	if err != nil || !health.Healthy || health.Status != http.StatusOK || health.Answer != `{"status":"Healthy"}` || health.State != isolde.SessionIdle {
		t.Errorf("health = %+v, %v", health, err)
	}
	after, err := b.sessions.Session(key)
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("asking for its health changed the session: %v\n%s", err, diff)
	}
	b.fake.Sandboxes()[0].SetPing(http.StatusTeapot, "no")
	if health, err = b.Health(t.Context(), "weather", key.Session); err != nil || health.Healthy || health.Status != http.StatusTeapot || health.Answer != "no" || health.Error == "" {
		t.Errorf("health of a sick agent = %+v, %v", health, err)
	}
	b.stop(t, key)
	if health, err = b.Health(t.Context(), "", key.Session); err != nil || health.Healthy || health.State != isolde.SessionStopped {
		t.Errorf("health of an ended session = %+v, %v", health, err)
	}
	_, err = b.Health(t.Context(), "", "nobody")
	wantCode(t, "health of an unknown session", err, isolde.CodeNotFound)
}

func TestWatchShowsStartsChangesAndEnds(t *testing.T) {
	b := newBed(t)
	weather, calc := b.deploy(t, "weather", "one").ID, b.deploy(t, "calc", "one").ID
	there := b.use(t, weather, "ann", 0, 1)[0]
	b.use(t, calc, "", 1, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var seen []string
	for e, err := range b.Watch(ctx, SessionFilter{Agent: "weather"}) {
		if err != nil {
			t.Fatalf("after %q: %v", seen, err)
		}
		if e.Synced {
			seen = append(seen, "synced")
			b.use(t, calc, "", 2, 3) // not of this agent
			b.stop(t, b.use(t, weather, "", 3, 4)...)
			b.use(t, weather, "ann", 0, 1)
			continue
		}
		state := "runs"
		if e.Session.State == isolde.SessionStopped {
			state = "stopped"
		}
		line := fmt.Sprintf("%s %s after %d", e.Session.ID[len(e.Session.ID)-1:], state, e.Session.Requests)
		if slices.Contains(seen, line) { // it was Active, and then Idle
			continue
		}
		if seen = append(seen, line); line == "0 runs after 2" {
			b.stop(t, there)
		}
		if e.Session.ID == there.Session && e.Session.State == isolde.SessionStopped {
			if e.Session.EndCause != isolde.EndCaller || e.Session.EndReason == "" || e.Session.AgentName != "weather" {
				t.Errorf("the end is %+v", e.Session)
			}
			break
		}
	}
	want := []string{"0 runs after 1", "synced", "3 stopped after 1", "0 runs after 2", "0 stopped after 2"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStopTakesTheFiltersOfTheList(t *testing.T) {
	b := newBed(t)
	weather, calc := b.deploy(t, "weather", "one").ID, b.deploy(t, "calc", "one").ID
	b.use(t, weather, "ann", 0, 2)
	b.use(t, weather, "bob", 2, 3)
	b.use(t, calc, "ann", 3, 4)
	stopped, err := b.StopSessions(t.Context(), SessionFilter{Agent: "weather", User: "ann", States: []isolde.SessionState{isolde.SessionIdle}})
	if err != nil || len(stopped.Stopped) != 2 {
		t.Fatalf("stopped %v, %v", stopped.Stopped, err)
	}
	left, err := b.Sessions(t.Context(), SessionFilter{})
	if err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", ids(left), err)
	}
	ended, err := b.Session(t.Context(), "", stopped.Stopped[0])
	if err != nil || ended.EndCause != isolde.EndOperator || ended.User != "ann" {
		t.Errorf("ended session is %+v, %v", ended, err)
	}
}
