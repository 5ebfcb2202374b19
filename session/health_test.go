package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// stamping is an agent whose pings are Healthy and tell the time of its status
// as stamp has it.
func stamping(stamp func() time.Time) sandboxtest.Script {
	return sandboxtest.Script{OwnPing: true, Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ping" {
			fmt.Fprintf(w, `{"status":"Healthy","time_of_last_update":%d}`, stamp().Unix())
			return
		}
		_, _ = io.Copy(w, r.Body)
	})}
}

// AWS's contract: "A timestamp that advances on every ping signals a continuous
// status change, which prevents the idle session timeout from ever firing."
func TestTimestampThatAdvancesKeepsTheSession(t *testing.T) {
	for _, wrong := range []time.Duration{0, -24 * time.Hour, 24 * time.Hour} { // the agent's clock
		inBubble(t, stamping(func() time.Time { return time.Now().Add(wrong) }), func(t *testing.T, b *bed) {
			b.invoke(key, "x")
			time.Sleep(59 * time.Minute)
			b.wantState(isolde.SessionIdle)
			if s, _ := b.m.Session(key); s.Runaway {
				t.Error("a runaway after less than an hour")
			}
			time.Sleep(time.Minute + 2*time.Second)
			if s, err := b.m.Session(key); err != nil || !s.Runaway || time.Since(s.LastUsedAt) < time.Hour || time.Since(s.LastActiveAt) > 2*time.Second {
				t.Errorf("clock wrong by %v: %+v, %v", wrong, s, err)
			}
		})
	}
}

func TestTimestampInTheFutureDoesNotKeepTheSession(t *testing.T) {
	future := time.Now().Add(100 * 365 * 24 * time.Hour)
	inBubble(t, stamping(func() time.Time { return future }), func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		time.Sleep(15*time.Minute + 2*time.Second)
		b.wantEnded("idle")
	})
}

func TestBusySessionWithoutRequestsIsReported(t *testing.T) {
	var out bytes.Buffer
	limited(t, sandboxtest.Script{}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&out, nil)) }, func(t *testing.T, b *bed) {
		runaway := func(want bool) {
			t.Helper()
			synctest.Wait()
			if s, err := b.m.Session(key); err != nil || s.Runaway != want {
				t.Errorf("runaway = %v, %v; want %v", s.Runaway, err, want)
			}
		}
		b.invoke(key, "x")
		b.sandbox().SetPing(200, `{"status":"HealthyBusy"}`)
		time.Sleep(59 * time.Minute)
		b.invoke(key, "x") // somebody uses it
		time.Sleep(59 * time.Minute)
		runaway(false)
		time.Sleep(2 * time.Minute)
		runaway(true)
		b.invoke(key, "x")
		time.Sleep(2 * time.Second)
		runaway(false)
		time.Sleep(3 * time.Hour)
		runaway(true)
		b.sandbox().SetPing(200, `{"status":"Healthy"}`)
		time.Sleep(2 * time.Second)
		runaway(false)
		time.Sleep(15 * time.Minute)
		b.wantEnded("was idle")
		if n := strings.Count(out.String(), "kept alive by its agent alone"); n != 2 {
			t.Errorf("reported %d times, want 2:\n%s", n, out.String())
		}
	})
}

func TestBusyTimeoutEndsARunaway(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.launch.Limits.BusyTimeout = 7200
		b.invoke(key, "x")
		b.sandbox().SetPing(200, `{"status":"HealthyBusy"}`)
		time.Sleep(time.Hour)
		b.m.Close()
		b.open() // the clock goes on, and so does the limit
		time.Sleep(59 * time.Minute)
		b.wantState(isolde.SessionActive)
		l := b.acquire(key)
		time.Sleep(3 * time.Hour) // a request is no runaway
		b.wantState(isolde.SessionActive)
		l.Release()
		time.Sleep(2*time.Hour - 2*time.Second)
		b.wantState(isolde.SessionActive)
		time.Sleep(6 * time.Second)
		b.wantEnded("was kept alive by its agent alone for 2h0m0s")
	})
}

func TestServersBusyTimeoutIsForSessionsFoundAgainToo(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().SetPing(200, `{"status":"HealthyBusy"}`)
		b.m.Close()
		b.cfg.PerAgent.BusyTimeout = 60
		b.open()
		time.Sleep(64 * time.Second)
		b.wantEnded("kept alive by its agent alone for 1m0s")
	})
}

// A server that died with a session idle for long finds its agent busy: it
// asks before it ends the session.
func TestAgentThatBecameBusyWithoutAServerIsNotIdle(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.m.Close()
		b.sandbox().SetPing(200, `{"status":"HealthyBusy"}`)
		time.Sleep(time.Hour)
		b.open()
		time.Sleep(10 * time.Second)
		b.wantState(isolde.SessionActive)
	})
}

// A single-threaded interpreter that computes answers no ping, and no new
// connection: 15 minutes of that are forgiven while a request runs or after
// the agent said that it is busy.
func TestBusyInterpreterSurvivesItsSilence(t *testing.T) {
	silent := func(b *bed) {
		b.sandbox().SetDialError(errors.New("no answer"))
		b.sandbox().DropConnections()
	}
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		b.sandbox().SetPing(200, `{"status":"HealthyBusy"}`)
		time.Sleep(4 * time.Second)
		silent(b)
		time.Sleep(14 * time.Minute)
		b.wantState(isolde.SessionActive)
		time.Sleep(2 * time.Minute)
		b.wantEnded("no ping was answered for 15m0s")
	})
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		l := b.acquire(key)
		defer l.Release()
		silent(b)
		time.Sleep(14 * time.Minute)
		b.wantState(isolde.SessionActive)
		b.sandbox().SetDialError(nil) // it is back
		time.Sleep(time.Hour)
		b.wantState(isolde.SessionActive)
	})
}
