package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// limited runs a test on a server with limits.
func limited(t *testing.T, script sandboxtest.Script, set func(*Config), f func(t *testing.T, b *bed)) {
	t.Helper()
	inBubble(t, script, func(t *testing.T, b *bed) {
		b.m.Close()
		set(&b.cfg)
		b.open()
		f(t, b)
	})
}

func numbered(i int) isolde.SessionKey {
	return isolde.SessionKey{Runtime: key.Runtime, Session: isolde.SessionID(fmt.Sprintf("session-%030d", i))}
}

// refused checks that a session is not admitted and that nothing of it is
// left; it returns when to try again.
func (b *bed) refused(key isolde.SessionKey, code isolde.Code, message string) (again time.Duration) {
	b.t.Helper()
	starts := b.fake.Starts()
	_, err := b.m.Acquire(b.t.Context(), key, b.launch)
	if isolde.CodeOf(err) != code || !strings.Contains(err.Error(), message) {
		b.t.Errorf("acquire = %v, want %s with %q", err, code, message)
	}
	if _, err := b.m.Session(key); isolde.CodeOf(err) != isolde.CodeNotFound || b.fake.Starts() != starts || b.store.get(key).ID != "" {
		b.t.Errorf("a refused session: %v, %d starts, record %+v", err, b.fake.Starts()-starts, b.store.get(key))
	}
	return isolde.AsError(err).RetryAfter
}

func TestLimitOnSessions(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.MaxSessions = 2 }, func(t *testing.T, b *bed) {
		b.invoke(numbered(1), "x")
		b.invoke(numbered(2), "x")
		b.refused(numbered(3), isolde.CodeQuota, "2 sessions run, the most this server allows")
		b.invoke(numbered(1), "x") // who is in stays in
		if err := b.m.Stop(t.Context(), numbered(1), isolde.EndOperator, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		b.invoke(numbered(3), "x")
	})
}

func TestLimitOnTheSessionsOfAnAgent(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.PerAgent.Sessions = 2 }, func(t *testing.T, b *bed) {
		b.launch.Limits.Sessions = 1
		b.invoke(numbered(1), "x")
		b.refused(numbered(2), isolde.CodeQuota, "1 sessions of agent runtime agent-0123456789 run")
		b.launch.Limits.Sessions = 10 // its owner cannot take more than the server gives
		b.invoke(numbered(2), "x")
		b.refused(numbered(3), isolde.CodeQuota, "2 sessions")
		other := numbered(3)
		other.Runtime = "other-0123456789"
		b.invoke(other, "x")
	})
}

func TestLimitOnPromisedMemory(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.MemoryBudget = 12 << 30 }, func(t *testing.T, b *bed) {
		b.invoke(numbered(1), "x") // 8 GiB, the default
		b.refused(numbered(2), isolde.CodeQuota, "may use 8 GiB of memory; the sessions that run were promised 8 GiB of the 12 GiB")
		b.launch.Spec.Resources.MemoryBytes = 4 << 30
		b.invoke(numbered(2), "x")
		if got := b.m.Load(); got != (Load{2, 5000, 12 << 30, 12 << 30}) {
			t.Errorf("load = %+v", got)
		}
		b.m.Close()
		b.open() // the promises are kept
		b.refused(numbered(3), isolde.CodeQuota, "promised 12 GiB")
		if err := b.m.Stop(t.Context(), numbered(1), isolde.EndOperator, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		b.invoke(numbered(3), "x")
	})
}

func TestNewSessionsWaitForTheirTurn(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.NewSessionsPerSecond, c.StartWait = 2, 10*time.Second }, func(t *testing.T, b *bed) {
		start := time.Now()
		var served, refused atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				_, err := b.m.Acquire(t.Context(), numbered(i), b.launch)
				switch e := isolde.AsError(err); {
				case err == nil:
					served.Add(1)
				case e.Code == isolde.CodeThrottled && e.RetryAfter > 0 && time.Since(start) == 0:
					refused.Add(1)
				default:
					t.Errorf("acquire: %v", err)
				}
			})
		}
		wg.Wait()
		// Two at once, then two a second for ten seconds.
		if served.Load() != 22 || refused.Load() != 8 || b.fake.Starts() != 22 || time.Since(start) != 10*time.Second {
			t.Errorf("%d served, %d refused, %d starts in %v", served.Load(), refused.Load(), b.fake.Starts(), time.Since(start))
		}
		b.invoke(b.m.Sessions()[0].Key(), "x") // a session that runs waits for nothing
		time.Sleep(time.Second)
		b.invoke(numbered(40), "x")
		if time.Since(start) != 11*time.Second {
			t.Errorf("a turn was not free: %v", time.Since(start))
		}
	})
}

func TestAnAgentsPaceHoldsUpNobodyElse(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.NewSessionsPerSecond, c.StartWait = 2, time.Second }, func(t *testing.T, b *bed) {
		b.launch.Limits.NewSessionsPerSecond = 0.1
		b.invoke(numbered(1), "x")
		for i := range 20 {
			if again := b.refused(numbered(2+i), isolde.CodeThrottled, "starts 0.1 new sessions per second"); again != 9*time.Second {
				t.Errorf("again after %v", again)
			}
		}
		start := time.Now()
		other := numbered(2)
		other.Runtime, b.launch.Limits = "other-0123456789", isolde.Limits{}
		b.invoke(other, "x")
		if time.Since(start) > 0 {
			t.Errorf("waited %v for turns that others were refused", time.Since(start))
		}
	})
}

func TestStartsThatWaitTooLongAreRefused(t *testing.T) {
	limited(t, sandboxtest.Script{StartDelay: time.Minute}, func(*Config) {}, func(t *testing.T, b *bed) {
		var refused atomic.Int64
		var wg sync.WaitGroup
		places := cap(b.m.starts)
		for i := range 2 * places {
			wg.Go(func() {
				_, err := b.m.Acquire(t.Context(), numbered(i), b.launch)
				if isolde.CodeOf(err) == isolde.CodeThrottled {
					refused.Add(1)
				} else if err != nil {
					t.Errorf("acquire: %v", err)
				}
			})
		}
		wg.Wait()
		if int(refused.Load()) != places || b.fake.Starts() != places {
			t.Errorf("%d refused, %d starts; %d places", refused.Load(), b.fake.Starts(), places)
		}
	})
}

func TestAWaitingStartEndsWithItsStopAndWithTheServer(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.NewSessionsPerSecond = 0.1 }, func(t *testing.T, b *bed) {
		b.invoke(numbered(1), "x")
		errs := make(chan error, 2)
		wait := func(i int) {
			go func() {
				_, err := b.m.Acquire(context.WithoutCancel(t.Context()), numbered(i), b.launch)
				errs <- err
			}()
			synctest.Wait()
		}
		wait(2)
		if err := b.m.Stop(t.Context(), numbered(2), isolde.EndOperator, "was stopped by a test"); err != nil || isolde.CodeOf(<-errs) != isolde.CodeConflict {
			t.Errorf("stop = %v", err)
		}
		wait(3)
		b.m.Close()
		if err := <-errs; isolde.CodeOf(err) != isolde.CodeUnavailable {
			t.Errorf("a start under way when the server ends: %v", err)
		}
		if b.fake.Starts() != 1 {
			t.Errorf("%d starts", b.fake.Starts())
		}
	})
}

func TestLimitOnRequests(t *testing.T) {
	limited(t, sandboxtest.Script{}, func(c *Config) { c.PerAgent.RequestsPerSecond = 4 }, func(t *testing.T, b *bed) {
		rate := func(want int) {
			t.Helper()
			served := 0
			for range 100 { // in 5 s
				time.Sleep(50 * time.Millisecond)
				l, err := b.m.Acquire(t.Context(), key, b.launch)
				switch e := isolde.AsError(err); {
				case err == nil:
					served++
					l.Release()
				case e.Code != isolde.CodeThrottled || e.RetryAfter <= 0 || e.RetryAfter > time.Second:
					t.Fatalf("acquire: %v, again after %v", err, e.RetryAfter)
				}
			}
			if served < want || served > want+4 {
				t.Errorf("%d served in 5 s, want %d and at most a second's more", served, want)
			}
		}
		rate(20)
		b.launch.Limits.RequestsPerSecond = 1
		rate(20) // the session is one of the version before
		if err := b.m.Stop(t.Context(), key, isolde.EndOperator, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		rate(5)
		b.m.Close()
		b.open() // a session that is found again learns its limits with the first request
		rate(5)
		b.fake.StopAll()
		synctest.Wait()
		b.acquire(key).Release()
		other := key
		other.Session += "-new"
		b.refused(other, isolde.CodeThrottled, "takes 1 requests per second") // starts nothing either
	})
}

func TestForgottenAgentsKeepTheirPace(t *testing.T) {
	boom := errors.New("boom")
	limited(t, sandboxtest.Script{StartError: boom}, func(c *Config) { c.StartWait = time.Millisecond }, func(t *testing.T, b *bed) {
		b.launch.Limits.NewSessionsPerSecond = 0.5
		if _, err := b.m.Acquire(t.Context(), key, b.launch); !errors.Is(err, boom) {
			t.Errorf("acquire: %v", err)
		}
		b.refused(numbered(2), isolde.CodeThrottled, "0.5 new sessions")
		time.Sleep(2 * time.Second)
		if _, err := b.m.Acquire(t.Context(), key, b.launch); !errors.Is(err, boom) {
			t.Errorf("acquire: %v", err)
		}
		time.Sleep(2 * time.Second)
		b.launch.Limits = isolde.Limits{}
		if _, err := b.m.Acquire(t.Context(), key, b.launch); !errors.Is(err, boom) || len(b.m.agents) != 0 {
			t.Errorf("acquire: %v; %d agents without a session are remembered", err, len(b.m.agents))
		}
	})
}

func TestPaceWithoutABound(t *testing.T) {
	var p pace
	for range 3 {
		if d, ok := p.take(func() time.Duration { panic("asked for the time") }, 0); d != 0 || !ok {
			t.Errorf("take = %v, %v", d, ok)
		}
	}
}
