package session

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

func TestSessionsSurviveARestartOfTheServer(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		before, _ := b.m.Session(key)
		time.Sleep(10 * time.Minute)
		b.m.Close()
		if b.fake.Live() != 1 {
			t.Fatal("the sandbox went with the server")
		}
		time.Sleep(time.Minute)
		b.open()
		b.wantState(isolde.SessionIdle)
		after, _ := b.m.Session(key)
		if after.Sandbox != before.Sandbox || !after.StartedAt.Equal(before.StartedAt) || after.Version != before.Version || after.Requests != before.Requests {
			t.Errorf("session after the restart = %+v, before %+v", after, before)
		}
		time.Sleep(4*time.Minute + 2*time.Second) // the idle clock went on
		b.wantEnded("idle")
	})
}

func TestSessionLostWithTheServerIsRecordedAsEnded(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.m.Close()
		b.fake.StopAll()
		b.open()
		b.wantEnded("was gone when the server came back")
	})
}

func TestSessionThatHadJustStartedSurvivesTheServersDeath(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		before, _ := b.m.Session(key)
		b.m.Close()
		b.store.records = nil // as if killed before it was written
		b.open()
		if after, err := b.m.Session(key); err != nil || after.Sandbox != before.Sandbox {
			t.Errorf("session = %+v, %v", after, err)
		}
		if r := b.store.get(key); r.Sandbox != before.Sandbox {
			t.Errorf("record = %+v", r)
		}
	})
}

func TestChangeOfDriverIsRefusedWhileSessionsRun(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.m.Close()
		r := b.store.get(key)
		r.Driver = "other"
		_ = b.store.PutSession(t.Context(), r)
		if _, err := Open(t.Context(), b.cfg); isolde.CodeOf(err) != isolde.CodeConflict || !strings.Contains(err.Error(), "--driver other") {
			t.Errorf("open = %v", err)
		}
	})
}

func TestSandboxOfADeletedAgentIsStoppedAtStart(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.m.Close()
		b.store.records, b.store.deleted = nil, true
		b.open()
		if n := b.fake.Live(); n != 0 {
			t.Errorf("%d sandboxes live, want none", n)
		}
	})
}

func TestDrainWaitsForRequestsAndRefusesNewOnes(t *testing.T) {
	inBubble(t, sandboxtest.Script{HealthyAfter: 5 * time.Second}, func(t *testing.T, b *bed) {
		served := make(chan string, 1)
		go func() { served <- b.invoke(key, "x") }() // waits for the start
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- b.m.Drain(t.Context()) }()
		synctest.Wait()
		if _, err := b.m.Acquire(t.Context(), key, b.launch); isolde.CodeOf(err) != isolde.CodeUnavailable {
			t.Errorf("acquire while draining = %v", err)
		}
		if err := <-drained; err != nil || len(served) != 1 {
			t.Errorf("drained with %v; %d served", err, len(served))
		}
	})
}
