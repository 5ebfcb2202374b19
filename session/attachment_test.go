package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

func TestAttachmentKeepsASessionOnlyByWhatPasses(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.launch.Lifecycle.IdleTimeout = isolde.Seconds(60)
		a := b.acquire(key).Attach()
		defer a.Detach()
		for range 5 { // five minutes
			time.Sleep(50 * time.Second)
			a.Touch()
		}
		b.wantState(isolde.SessionActive)
		s, err := b.m.Session(key)
		if err != nil || s.InFlight != 1 || !s.IdleAt.Equal(s.LastActiveAt.Add(time.Minute)) {
			t.Errorf("%+v, %v; want one in flight, and when it ends if nothing passes", s, err)
		}
		if a.Context().Err() != nil {
			t.Fatal("the attachment has ended")
		}
		time.Sleep(time.Minute + 3*time.Second)
		b.wantEnded("was idle for 1m0s")
		if reason, fault := a.Ended(); a.Context().Err() == nil || reason != "the session ended: it was idle for 1m0s" || fault {
			t.Errorf("ended %q, the agent's fault %v", reason, fault)
		}
	})
}

func TestAttachmentEndsWithItsAgent(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		l := b.acquire(key)
		c, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a := l.Attach()
		defer a.Detach()
		if reason, _ := a.Ended(); reason != "" {
			t.Errorf("ended: %s", reason)
		}
		b.sandbox().ExitWith(3)
		<-a.Context().Done()
		if reason, fault := a.Ended(); reason != "the session ended: its agent exited with code 3" || !fault {
			t.Errorf("ended %q, the agent's fault %v", reason, fault)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the connection to the agent is open")
		}
	})
}

func TestDrainWaitsForAttachments(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		a := b.acquire(key).Attach()
		drained := make(chan error)
		go func() { drained <- b.m.Drain(t.Context()) }()
		<-a.Context().Done()
		if reason, fault := a.Ended(); reason != "the server shuts down; the session goes on" || fault {
			t.Errorf("ended %q, the agent's fault %v", reason, fault)
		}
		synctest.Wait()
		select {
		case err := <-drained:
			t.Errorf("drained before it was detached: %v", err)
		default:
		}
		a.Detach()
		a.Detach()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}
