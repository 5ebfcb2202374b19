package operator

import (
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
)

// store starts a session that keeps files.
func (b *bed) store(t *testing.T, key isolde.SessionKey) {
	t.Helper()
	launch := &session.Launch{Version: 7, Spec: sandbox.Spec{Ports: []int{8080}, Volumes: []sandbox.Volume{{Path: "/mnt/data"}}}}
	lease, err := b.sessions.Acquire(t.Context(), key, launch)
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
}

func TestStorage(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	weather, calc := b.deploy(t, "weather", "one").ID, b.deploy(t, "calc", "one").ID
	const both, one = "session-000000000000000000000000000001", "session-000000000000000000000000000002"
	for _, key := range []isolde.SessionKey{{Runtime: weather, Session: both}, {Runtime: calc, Session: both}, {Runtime: calc, Session: one}} {
		b.store(t, key)
	}
	list, err := b.Storage(ctx, "weather")
	if err != nil || len(list) != 1 || list[0].Session != both || list[0].AgentName != "weather" || list[0].Version != 7 || list[0].Bytes == 0 || !list[0].Running {
		t.Errorf("of weather: %+v, %v", list, err)
	}
	_, err = b.RemoveStorage(ctx, "", both)
	wantCode(t, "an id of two agents", err, isolde.CodeConflict)
	_, err = b.RemoveStorage(ctx, "weather", both)
	wantCode(t, "a session that runs", err, isolde.CodeConflict)
	if r, err := b.RemoveStorages(ctx, ""); err != nil || len(r.Removed) != 0 {
		t.Errorf("removed %+v, %v of sessions that run", r, err)
	}
	if _, err := b.StopSessions(ctx, SessionFilter{}); err != nil {
		t.Fatal(err)
	}
	if r, err := b.RemoveStorage(ctx, "weather", both); err != nil || len(r.Removed) != 1 || r.Removed[0] != both {
		t.Errorf("removed %+v, %v", r, err)
	}
	_, err = b.RemoveStorage(ctx, "weather", both)
	wantCode(t, "removing it again", err, isolde.CodeNotFound)
	if r, err := b.RemoveStorages(ctx, "calc"); err != nil || len(r.Removed) != 2 {
		t.Errorf("removed %+v, %v", r, err)
	}
	if list, err := b.Storage(ctx, ""); err != nil || len(list) != 0 {
		t.Errorf("left: %+v, %v", list, err)
	}
}
