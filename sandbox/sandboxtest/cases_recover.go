package sandboxtest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

func testRecover(t *testing.T, b *bench) {
	spec := b.spec(t)
	p := b.start(t, spec)
	p.do(t, order.Order{Do: "remember", Key: "k", Value: "before the restart"})
	p.do(t, order.Order{Do: "write", Path: "note.txt", Value: "before the restart"})

	p = b.recovered(t, spec)
	for range 2 { // a restart must not depend on how the one before ended
		if diff := cmp.Diff(spec.Labels, p.Labels()); diff != "" {
			t.Errorf("Labels (-want +got)\n%s", diff)
		}
		if got := p.do(t, order.Order{Do: "recall", Key: "k"}).Value; got != "before the restart" {
			t.Errorf("memory after the restart holds %q", got)
		}
		if got := p.do(t, order.Order{Do: "read", Path: "note.txt"}).Value; got != "before the restart" {
			t.Errorf("a file after the restart holds %q", got)
		}
		if stats, err := p.Stats(t.Context()); err != nil || stats.Tasks == 0 {
			t.Errorf("Stats after the restart = %+v, %v", stats, err)
		}
		p = b.recovered(t, spec)
	}

	// New sandboxes keep clear of what the old ones hold.
	if b.driver.Capabilities().MaxSandboxes != 1 {
		other := b.start(t, b.spec(t))
		other.do(t, order.Order{Do: "echo"})
		other.stop(t, b, 0)
		p.do(t, order.Order{Do: "echo"})
	}

	// The end of a recovered agent is noticed.
	p.do(t, order.Order{Do: "exit", Code: 3})
	if exit := p.waitExit(t); exit.Code != 3 && exit.Code != -1 {
		t.Errorf("Exit = %+v, want code 3, or -1 for not known", exit)
	}
	p.stop(t, b, time.Second)
	if found := b.restart(t); len(found) != 0 {
		t.Errorf("recovered %v after it was stopped", found)
	}
}

// recovered restarts the driver and returns the one sandbox it must find.
func (b *bench) recovered(t *testing.T, spec sandbox.Spec) *peer {
	t.Helper()
	found := b.restart(t)
	if len(found) != 1 || found[0].ID() != spec.ID {
		t.Fatalf("recovered %d sandboxes, want %s alone", len(found), spec.ID)
	}
	return b.peer(t, found[0], spec)
}

func testRecoverDead(t *testing.T, b *bench) {
	dead := b.spec(t)
	p := b.start(t, dead)
	p.do(t, order.Order{Do: "remember", Key: "k", Value: "v"})
	var alive sandbox.Spec
	if b.driver.Capabilities().MaxSandboxes != 1 {
		alive = b.spec(t)
		b.start(t, alive)
	}
	if b.harness.ForksEscape == "" {
		p.do(t, order.Order{Do: "fork", Count: 2})
	}
	// The agent dies while no server looks.
	p.do(t, order.Order{Do: "kill-self", Millis: 300})
	if err := b.driver.Close(); err != nil {
		t.Fatal(err)
	}
	p.waitLog(t, "kills itself")
	for _, s := range b.restart(t) {
		if s.ID() == alive.ID {
			b.peer(t, s, alive).do(t, order.Order{Do: "echo"})
			alive.ID = ""
			continue
		}
		// It may be found if it was about to end, but not as one that runs.
		b.peer(t, s, dead).waitExit(t)
		if err := s.Stop(t.Context(), 0); err != nil {
			t.Error(err)
		}
	}
	if alive.ID != "" {
		t.Errorf("did not recover %s, which runs", alive.ID)
	}
	b.checkGone(t, dead.ID)
}

func testServerKilled(t *testing.T, b *bench) {
	if err := b.driver.Close(); err != nil {
		t.Fatal(err)
	}
	id := b.killServer(t, "started", 0)
	spec := b.spec(t)
	spec.ID, spec.LogFile = id, b.state+"/agent.log"
	p := b.recovered(t, spec)
	p.waitHealthy(t)
	p.do(t, order.Order{Do: "print", Value: "still here"})
	p.waitLog(t, "still here")
	p.stop(t, b, patience)
	p.waitLog(t, "says goodbye")
}

// testServerKilledMidway kills servers at moments from before the start of a
// sandbox to after it.
func testServerKilledMidway(t *testing.T, b *bench) {
	recovered := 0
	for _, moment := range []time.Duration{0, 3, 8, 15, 30, 60, 120, 240} {
		if err := b.driver.Close(); err != nil {
			t.Fatal(err)
		}
		b.killServer(t, "starting", moment*time.Millisecond)
		for _, s := range b.restart(t) {
			recovered++
			if err := s.Stop(context.Background(), 0); err != nil {
				t.Errorf("stop %s: %v", s.ID(), err)
			}
		}
		b.checkGone(t, "")
	}
	t.Logf("of 8 servers, %d were killed after the start", recovered)
	if b.driver.Capabilities().Volumes == nil { // they had one, which is whole
		b.start(t, b.withVolume(b.spec(t), "data")).do(t, order.Order{Do: "write", Path: "/mnt/data/note", Value: "fine"})
	}
}
