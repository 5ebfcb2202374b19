package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

func TestRecordSaysWhoEndedTheSession(t *testing.T) {
	for cause, c := range map[isolde.EndCause]struct {
		script sandboxtest.Script
		end    func(t *testing.T, b *bed)
	}{
		isolde.EndOperator: {end: func(t *testing.T, b *bed) {
			if err := b.m.Stop(t.Context(), key, isolde.EndOperator, "was stopped"); err != nil {
				t.Error(err)
			}
		}},
		isolde.EndServer: {end: func(t *testing.T, b *bed) {
			_, err := b.m.StopAll(t.Context(), isolde.EndServer, "was ended", func(isolde.Session) bool { return true })
			if err != nil {
				t.Error(err)
			}
		}},
		isolde.EndIdle:      {end: func(*testing.T, *bed) { time.Sleep(time.Hour) }},
		isolde.EndExited:    {end: func(_ *testing.T, b *bed) { b.sandbox().ExitWith(1) }},
		isolde.EndUnhealthy: {end: func(_ *testing.T, b *bed) { b.sandbox().SetPing(500, ""); time.Sleep(time.Minute) }},
		isolde.EndLost: {end: func(_ *testing.T, b *bed) {
			b.m.Close()
			b.fake.StopAll()
			b.open()
		}},
	} {
		t.Run(string(cause), func(t *testing.T) {
			inBubble(t, c.script, func(t *testing.T, b *bed) {
				b.invoke(key, "x")
				c.end(t, b)
				synctest.Wait()
				if got := b.store.get(key); got.EndCause != cause || got.EndReason == "" || got.EndedAt.IsZero() {
					t.Errorf("ended by %q because it %q at %v, want by %s", got.EndCause, got.EndReason, got.EndedAt, cause)
				}
			})
		})
	}
}

func TestUserIsWhoNamedItselfFirst(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		for _, user := range []string{"", "ann", "bob", ""} {
			l := b.acquire(key)
			l.Identify("", user)
			l.Release()
		}
		b.m.Close()
		b.open()
		if s, err := b.m.Session(key); err != nil || s.User != "ann" {
			t.Errorf("after a restart the user is %q, %v; want ann", s.User, err)
		}
		if err := b.m.Stop(t.Context(), key, isolde.EndCaller, "was stopped"); err != nil {
			t.Fatal(err)
		}
		b.acquire(key).Release()
		if s, err := b.m.Session(key); err != nil || s.User != "" {
			t.Errorf("a new life of the session has the user %q, %v", s.User, err)
		}
	})
}

func TestWatcherThatDoesNotLookIsToldThatItMissedEnds(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		w := b.m.Watch()
		defer w.Close()
		b.invoke(key, "x")
		if seen, err := w.Changes(); err != nil || len(seen) != 1 || seen[0].State != isolde.SessionIdle {
			t.Fatalf("changes = %+v, %v", seen, err)
		}
		if seen, err := w.Changes(); err != nil || len(seen) != 0 {
			t.Errorf("nothing changed, and yet: %+v, %v", seen, err)
		}
		b.m.mu.Lock()
		for range maxUnseenEnds + 1 {
			w.end(isolde.Session{ID: "gone"})
		}
		b.m.mu.Unlock()
		if _, err := w.Changes(); isolde.CodeOf(err) != isolde.CodeUnavailable {
			t.Errorf("changes = %v, want that some were missed", err)
		}
	})
}
