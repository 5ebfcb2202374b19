package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFirstRequestStartsTheSandboxAndLaterOnesReuseIt(t *testing.T) {
	inBubble(t, sandboxtest.Script{StartDelay: time.Second, HealthyAfter: 2 * time.Second}, func(t *testing.T, b *bed) {
		if got := b.invoke(key, "hello"); got != "hello" {
			t.Errorf("answer = %q", got)
		}
		b.wantState(isolde.SessionIdle)
		b.invoke(key, "again")
		if n := b.fake.Starts(); n != 1 {
			t.Errorf("%d starts, want 1", n)
		}
		s, _ := b.m.Session(key)
		if s.Requests != 2 || s.Version != 3 || s.Sandbox == "" {
			t.Errorf("session = %+v", s)
		}
	})
}

func TestRequestsThatMeetAStartWaitForIt(t *testing.T) {
	inBubble(t, sandboxtest.Script{HealthyAfter: 10 * time.Second}, func(t *testing.T, b *bed) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { b.invoke(key, "x") })
		}
		b.wantState(isolde.SessionStarting)
		wg.Wait()
		if n := b.fake.Starts(); n != 1 {
			t.Errorf("%d starts, want 1", n)
		}
	})
}

// On the bubble's clock: a start must not wait long for its next look at an
// agent that was not listening yet, whenever that begins to.
func TestAgentIsUsedAsSoonAsItListens(t *testing.T) {
	for begin := 3 * time.Second; begin < 4*time.Second; begin += 70 * time.Millisecond {
		inBubble(t, sandboxtest.Script{HealthyAfter: begin}, func(t *testing.T, b *bed) {
			start := time.Now()
			b.invoke(key, "x")
			if late := time.Since(start) - begin; late < 0 || late > 50*time.Millisecond {
				t.Errorf("served %v after the agent listened at %v", late, begin)
			}
		})
	}
}

func TestEachSessionHasASandboxOfItsOwn(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		other := key
		other.Session += "-other"
		b.invoke(key, "x")
		b.invoke(other, "x")
		if n := b.fake.Live(); n != 2 {
			t.Errorf("%d sandboxes, want 2", n)
		}
	})
}

func TestIdleSessionEndsAndItsIDStartsAnew(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		time.Sleep(14 * time.Minute)
		b.wantState(isolde.SessionIdle)
		b.invoke(key, "x") // sets the clock back
		time.Sleep(14 * time.Minute)
		b.wantState(isolde.SessionIdle)
		time.Sleep(time.Minute + 2*time.Second)
		b.wantEnded("was idle for 15m0s")
		b.invoke(key, "x")
		s, _ := b.m.Session(key)
		if b.fake.Starts() != 2 || s.Requests != 1 || time.Since(s.StartedAt) > time.Second {
			t.Errorf("not a fresh session: %d starts, %+v", b.fake.Starts(), s)
		}
	})
}

func TestRequestUnderWayKeepsTheSession(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		l := b.acquire(key)
		time.Sleep(time.Hour)
		b.wantState(isolde.SessionActive)
		l.Release()
		time.Sleep(15*time.Minute + 2*time.Second)
		b.wantEnded("idle")
	})
}

func TestBusyAgentIsNotIdle(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().SetPing(200, `{"status":"HealthyBusy"}`)
		time.Sleep(time.Hour)
		b.wantState(isolde.SessionActive)
		b.sandbox().SetPing(200, `{"status":"Healthy"}`)
		time.Sleep(14 * time.Minute)
		b.wantState(isolde.SessionIdle)
		time.Sleep(time.Minute + 4*time.Second)
		b.wantEnded("idle")
	})
}

func TestTimestampOfAPastChangeDoesNotKeepTheSession(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().SetPing(200, fmt.Sprintf(`{"status":"Healthy","time_of_last_update":%d}`, time.Now().Unix()-3600))
		time.Sleep(15*time.Minute + 2*time.Second)
		b.wantEnded("idle")
	})
}

func TestMaximumLifetimeEndsEvenABusySession(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.launch.Lifecycle = isolde.Lifecycle{MaxLifetime: 3600}
		l := b.acquire(key)
		defer l.Release()
		time.Sleep(time.Hour + time.Second)
		b.wantEnded("maximum lifetime of 1h0m0s")
	})
}

func TestStopCutsOffRunningRequestsAndSaysWhy(t *testing.T) {
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server watches the connection only then
		<-r.Context().Done()
	})
	inBubble(t, sandboxtest.Script{Agent: hang}, func(t *testing.T, b *bed) {
		l := b.acquire(key)
		failed := make(chan error, 1)
		go func() {
			defer l.Release()
			_, err := roundTrip(t.Context(), l, "x")
			failed <- err
		}()
		synctest.Wait()
		if err := b.m.Stop(t.Context(), key, isolde.EndCaller, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; isolde.CodeOf(err) != isolde.CodeAgent || !strings.Contains(err.Error(), "was stopped by a test") {
			t.Errorf("cut off request got %v", err)
		}
		b.wantEnded("was stopped by a test")
		if err := b.m.Stop(t.Context(), key, isolde.EndCaller, "again"); isolde.CodeOf(err) != isolde.CodeNotFound {
			t.Errorf("second stop = %v, want not found", err)
		}
	})
}

func TestAgentThatExitsEndsTheSessionAtOnce(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().ExitWith(7)
		b.wantEnded("exited with code 7")
	})
}

func TestAgentThatExitsWhileItStarts(t *testing.T) {
	inBubble(t, sandboxtest.Script{HealthyAfter: time.Hour, ExitAfter: 3 * time.Second, ExitCode: 1}, func(t *testing.T, b *bed) {
		var failures atomic.Int32
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				_, err := b.m.Acquire(t.Context(), key, b.launch)
				if isolde.CodeOf(err) == isolde.CodeAgent && strings.Contains(err.Error(), "exited with code 1") {
					failures.Add(1)
				} else {
					t.Errorf("acquire = %v", err)
				}
			})
		}
		wg.Wait()
		if failures.Load() != 5 || b.fake.Starts() != 1 {
			t.Errorf("%d of 5 heard why, %d starts", failures.Load(), b.fake.Starts())
		}
		b.wantEnded("did not start")
	})
}

func TestAgentThatIsNeverHealthy(t *testing.T) {
	inBubble(t, sandboxtest.Script{HealthyAfter: time.Hour}, func(t *testing.T, b *bed) {
		start := time.Now()
		_, err := b.m.Acquire(t.Context(), key, b.launch)
		if isolde.CodeOf(err) != isolde.CodeAgent || !strings.Contains(err.Error(), "initialization time exceeded") {
			t.Errorf("acquire = %v", err)
		}
		if d := time.Since(start); d < 120*time.Second || d > 121*time.Second {
			t.Errorf("gave up after %v, want 120 s", d)
		}
		b.wantEnded("did not start")
	})
}

func TestUnhealthyAgentEndsAfterThreeBadPings(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().SetPing(503, "")
		time.Sleep(5 * time.Second)
		b.wantState(isolde.SessionIdle)
		time.Sleep(2 * time.Second)
		b.wantEnded("is unhealthy")
	})
}

func TestOneBadPingIsForgiven(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		time.Sleep(time.Second) // between two pings
		for range 10 {
			b.sandbox().SetPing(503, "")
			time.Sleep(4 * time.Second)
			b.sandbox().SetPing(200, `{"status":"Healthy"}`)
			time.Sleep(2 * time.Second)
		}
		b.wantState(isolde.SessionIdle)
	})
}

func TestUnreachableAgentEnds(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().SetDialError(errors.New("no route"))
		b.sandbox().DropConnections()
		time.Sleep(50 * time.Second)
		b.wantState(isolde.SessionIdle)
		time.Sleep(20 * time.Second)
		b.wantEnded("no ping was answered")
	})
}

func TestDriverThatCannotStart(t *testing.T) {
	boom := isolde.Errorf(isolde.CodeQuota, "no room")
	inBubble(t, sandboxtest.Script{StartError: boom}, func(t *testing.T, b *bed) {
		_, err := b.m.Acquire(t.Context(), key, b.launch)
		if !errors.Is(err, boom) {
			t.Errorf("acquire = %v, want %v", err, boom)
		}
		b.wantEnded("no room")
	})
}

func TestCallerThatGivesUpDoesNotEndTheStart(t *testing.T) {
	inBubble(t, sandboxtest.Script{HealthyAfter: 10 * time.Second}, func(t *testing.T, b *bed) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.m.Acquire(ctx, key, b.launch); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("acquire = %v", err)
		}
		time.Sleep(10 * time.Second)
		b.wantState(isolde.SessionIdle)
	})
}

func TestStopWhileStarting(t *testing.T) {
	inBubble(t, sandboxtest.Script{HealthyAfter: time.Minute}, func(t *testing.T, b *bed) {
		waiting := make(chan error, 1)
		go func() {
			_, err := b.m.Acquire(t.Context(), key, b.launch)
			waiting <- err
		}()
		synctest.Wait()
		if err := b.m.Stop(t.Context(), key, isolde.EndCaller, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; isolde.CodeOf(err) != isolde.CodeConflict {
			t.Errorf("waiting caller got %v", err)
		}
		b.wantEnded("stopped while it started")
	})
}

func TestSlowAgentsHoldUpNobodyElse(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.fake.Script = func(spec sandbox.Spec) sandboxtest.Script {
			if spec.Labels[labelSession] == string(key.Session) {
				return sandboxtest.Script{}
			}
			return sandboxtest.Script{HealthyAfter: time.Hour}
		}
		for i := range 4 * cap(b.m.starts) {
			slow := key
			slow.Session = isolde.SessionID(fmt.Sprint("slow-", i))
			go func() { _, _ = b.m.Acquire(t.Context(), slow, b.launch) }()
		}
		synctest.Wait()
		start := time.Now()
		b.invoke(key, "x")
		if d := time.Since(start); d > time.Second {
			t.Errorf("a healthy agent waited %v", d)
		}
		time.Sleep(3 * time.Minute) // the slow ones have given up
	})
}

func TestConcurrentInvokeAndStop(t *testing.T) {
	inBubble(t, sandboxtest.Script{StartDelay: time.Millisecond}, func(t *testing.T, b *bed) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 20 {
					l, err := b.m.Acquire(t.Context(), key, b.launch)
					if isolde.CodeOf(err) == isolde.CodeConflict {
						continue // stopped while it started
					}
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					_, _ = roundTrip(t.Context(), l, "x")
					l.Release()
				}
			})
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				_ = b.m.Stop(t.Context(), key, isolde.EndCaller, "was stopped by a test")
			})
		}
		wg.Wait()
		if n := b.fake.MaxLive(); n != 1 {
			t.Errorf("%d sandboxes of one session at once", n)
		}
	})
}
