package session

import (
	"context"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// as is the context of a caller to whom sessions are bound.
func as(t *testing.T, subject string) context.Context {
	return auth.NewContext(t.Context(), auth.Bearer("https://idp.example", subject, "", nil), true)
}

func TestBoundSessionsAreTheirOwnersAlone(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		enter := func(ctx context.Context) isolde.Code {
			l, err := b.m.Acquire(ctx, key, b.launch)
			if err == nil {
				l.Release()
			}
			return isolde.CodeOf(err)
		}
		ada, bob := as(t, "ada"), as(t, "bob")
		check := func(when string) {
			t.Helper()
			if c := enter(bob); c != isolde.CodeDenied {
				t.Errorf("%s another identity entered the session: %q", when, c)
			}
			if c := enter(ada); c != "" {
				t.Errorf("%s the owner could not enter: %q", when, c)
			}
			if c := enter(t.Context()); c != isolde.CodeDenied {
				t.Errorf("%s somebody who is not known entered the session: %q", when, c)
			}
			guest := auth.NewContext(t.Context(), auth.Bearer("https://idp.example", "bob", "", nil), false)
			if c := enter(guest); c != isolde.CodeDenied {
				t.Errorf("%s somebody whose sessions are not bound entered the session: %q", when, c)
			}
			if c := enter(auth.Unbound(t.Context())); c != "" {
				t.Errorf("%s the operator could not enter: %q", when, c)
			}
		}
		if c := enter(ada); c != "" {
			t.Fatal(c)
		}
		check("at first")
		if err := b.m.Stop(bob, key, isolde.EndCaller, "was stopped"); isolde.CodeOf(err) != isolde.CodeDenied {
			t.Errorf("another identity stopped the session: %v", err)
		}
		b.m.Close()
		b.store.mu.Lock()
		clear(b.store.records) // the labels are enough
		b.store.mu.Unlock()
		b.open()
		check("after a restart of the server")
		if s, err := b.m.Session(key); err != nil || s.Owner != "jwt:https://idp.example#ada" {
			t.Errorf("owner %q, %v", s.Owner, err)
		}
		if err := b.m.Stop(ada, key, isolde.EndCaller, "was stopped"); err != nil {
			t.Fatal(err)
		}
		if c := enter(t.Context()); c != isolde.CodeDenied {
			t.Errorf("after a stop somebody who is not known began the session anew: %q", c)
		}
		check("after a stop") // by whom it is started anew
	})
}

func TestSessionsOfNobodyAreEverybodys(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		unbound := auth.NewContext(t.Context(), auth.Bearer("https://idp.example", "ada", "", nil), false)
		for _, ctx := range []context.Context{unbound, as(t, "bob"), as(t, "ada"), t.Context()} {
			l, err := b.m.Acquire(ctx, key, b.launch)
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
		}
	})
}
