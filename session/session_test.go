package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
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

// memoryStore is an isolde.SessionStore for tests.
type memoryStore struct {
	mu      sync.Mutex
	records map[isolde.SessionKey]isolde.Session
	deleted bool // the agent runtime is
}

func (st *memoryStore) PutSession(_ context.Context, s isolde.Session) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.deleted {
		return isolde.Errorf(isolde.CodeNotFound, "no agent runtime %q", s.Runtime)
	}
	if st.records == nil {
		st.records = make(map[isolde.SessionKey]isolde.Session)
	}
	st.records[s.Key()] = s
	return nil
}

func (st *memoryStore) Sessions(_ context.Context, _ isolde.RuntimeID, ended bool, _ int) ([]isolde.Session, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []isolde.Session
	for _, s := range st.records {
		if ended || s.EndedAt.IsZero() {
			out = append(out, s)
		}
	}
	return out, nil
}

func (st *memoryStore) SessionsByID(_ context.Context, id isolde.SessionID) ([]isolde.Session, error) {
	all, err := st.Sessions(context.Background(), "", true, 0)
	return slices.DeleteFunc(all, func(s isolde.Session) bool { return s.ID != id }), err
}

func (st *memoryStore) get(key isolde.SessionKey) isolde.Session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.records[key]
}

// bed is a manager on a fake driver inside a synctest bubble.
type bed struct {
	t      *testing.T
	fake   *sandboxtest.Fake
	store  *memoryStore
	cfg    Config
	m      *Manager
	launch *Launch
}

var key = isolde.SessionKey{Runtime: "agent-0123456789", Session: "session-000000000000000000000000000001"}

func newBed(t *testing.T, script sandboxtest.Script) *bed {
	b := &bed{t: t, fake: &sandboxtest.Fake{}, store: &memoryStore{}}
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return script }
	b.cfg = Config{Driver: b.fake, Store: b.store, LogDir: t.TempDir()}
	b.launch = &Launch{Version: 3, Spec: sandbox.Spec{Ports: []int{8080}}}
	b.open()
	t.Cleanup(func() {
		b.m.Close()
		b.fake.StopAll()
	})
	return b
}

func (b *bed) open() {
	b.t.Helper()
	m, err := Open(b.t.Context(), b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.m = m
}

func (b *bed) acquire(key isolde.SessionKey) *Lease {
	b.t.Helper()
	l, err := b.m.Acquire(b.t.Context(), key, b.launch)
	if err != nil {
		b.t.Fatalf("acquire: %v", err)
	}
	return l
}

// invoke sends a request and returns the answer.
func (b *bed) invoke(key isolde.SessionKey, body string) string {
	b.t.Helper()
	l := b.acquire(key)
	defer l.Release()
	out, err := roundTrip(b.t.Context(), l, body)
	if err != nil {
		b.t.Fatalf("invoke: %v", err)
	}
	return out
}

func roundTrip(ctx context.Context, l *Lease, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/invocations", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := l.RoundTrip(req)
	if err != nil {
		return "", l.Failed(ctx, "request", "broke off", err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return string(out), err
}

func (b *bed) sandbox() *sandboxtest.FakeSandbox {
	b.t.Helper()
	all := b.fake.Sandboxes()
	if len(all) != 1 {
		b.t.Fatalf("%d sandboxes live, want 1", len(all))
	}
	return all[0]
}

// wantEnded checks that the session has ended and why.
func (b *bed) wantEnded(reason string) {
	b.t.Helper()
	synctest.Wait()
	if n := b.fake.Live(); n != 0 {
		b.t.Errorf("%d sandboxes live, want none", n)
	}
	if _, err := b.m.Session(key); isolde.CodeOf(err) != isolde.CodeNotFound {
		b.t.Errorf("session still there: %v", err)
	}
	if got := b.store.get(key); got.State != isolde.SessionStopped || got.EndedAt.IsZero() || !strings.Contains(got.EndReason, reason) {
		b.t.Errorf("record = %s, ended %v because it %q; want Stopped because it …%s…", got.State, got.EndedAt, got.EndReason, reason)
	}
}

func (b *bed) wantState(want isolde.SessionState) {
	b.t.Helper()
	synctest.Wait()
	s, err := b.m.Session(key)
	if err != nil || s.State != want {
		b.t.Errorf("state = %q, %v; want %s", s.State, err, want)
	}
}

func inBubble(t *testing.T, script sandboxtest.Script, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newBed(t, script)) })
}

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
		if err := b.m.Stop(t.Context(), key, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; isolde.CodeOf(err) != isolde.CodeAgent || !strings.Contains(err.Error(), "was stopped by a test") {
			t.Errorf("cut off request got %v", err)
		}
		b.wantEnded("was stopped by a test")
		if err := b.m.Stop(t.Context(), key, "again"); isolde.CodeOf(err) != isolde.CodeNotFound {
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

func TestLimitOnSessions(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.m.cfg.MaxSessions = 1
		b.invoke(key, "x")
		other := key
		other.Session += "-other"
		if _, err := b.m.Acquire(t.Context(), other, b.launch); isolde.CodeOf(err) != isolde.CodeQuota {
			t.Errorf("acquire over the limit = %v", err)
		}
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
		if err := b.m.Stop(t.Context(), key, "was stopped by a test"); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; isolde.CodeOf(err) != isolde.CodeConflict {
			t.Errorf("waiting caller got %v", err)
		}
		b.wantEnded("stopped while it started")
	})
}

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
				_ = b.m.Stop(t.Context(), key, "was stopped by a test")
			})
		}
		wg.Wait()
		if n := b.fake.MaxLive(); n != 1 {
			t.Errorf("%d sandboxes of one session at once", n)
		}
	})
}
