package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// builder stands in for image/: the fake driver needs no root.
type builder struct{}

func (builder) Build(context.Context, image.Source, func(image.Progress)) (image.Image, error) {
	return image.Image{Digest: "sha256:0"}, nil
}

func (builder) Import(context.Context, string, func(image.Progress)) (image.Image, error) {
	return image.Image{Digest: "sha256:0"}, nil
}

func (builder) Open(context.Context, string) (image.Image, error)        { return image.Image{}, nil }
func (builder) Collect(context.Context, []string) (freed int64, _ error) { return 0, nil }

// serve runs a test in a bubble, with a gateway to an agent called slow.
func serve(t *testing.T, agent http.HandlerFunc, f func(t *testing.T, g *Gateway)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		fake := &sandboxtest.Fake{Script: func(sandbox.Spec) sandboxtest.Script { return sandboxtest.Script{Agent: agent} }}
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "isolde.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		sessions, err := session.Open(t.Context(), session.Config{Driver: fake, Store: store, LogDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer fake.StopAll()
		defer sessions.Close()
		agents, err := catalog.Open(t.Context(), catalog.Config{
			Store: store, Builder: builder{}, Sessions: sessions, Driver: fake.Capabilities(), TempDir: t.TempDir(), Logger: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer agents.Close()
		spec := isolde.VersionSpec{Entrypoint: []string{"agent"}}
		if _, err := agents.Deploy(t.Context(), "slow", spec, bytes.NewReader(make([]byte, 1024)), func(image.Progress) {}); err != nil {
			t.Fatal(err)
		}
		f(t, &Gateway{Catalog: agents, Sessions: sessions, Logger: log})
	})
}

// invoke calls the agent and returns the answer, how it ended, and when.
func invoke(t *testing.T, g *Gateway, body string) (answer string, took time.Duration, err error) {
	t.Helper()
	start := time.Now()
	resp, err := g.Invoke(t.Context(), &isolde.Invocation{
		Target: "slow", Session: "session-000000000000000000000000000001", RequestID: "request",
		Method: http.MethodPost, Header: http.Header{}, Body: strings.NewReader(body), ContentLength: int64(len(body)),
	})
	if err != nil {
		return "", time.Since(start), err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return string(out), time.Since(start), err
}

// waiting is an agent that answers after the time in the body; after a "+" as
// an event stream, whose head comes at once.
func waiting(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	text, stream := strings.CutPrefix(string(body), "+")
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	if stream {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
	}
	select {
	case <-time.After(d):
		_, _ = io.WriteString(w, "done")
	case <-r.Context().Done():
	}
}

func TestAnswersHaveTheirTime(t *testing.T) {
	for _, test := range []struct {
		body  string
		limit time.Duration // at which it ends; 0: it is served
		says  string
	}{
		{"14m59s", 0, ""},
		{"15m1s", 15 * time.Minute, "no complete answer within 15m0s"},
		{"+59m59s", 0, ""},
		{"+60m1s", 60 * time.Minute, "the stream took longer than 1h0m0s"},
	} {
		serve(t, waiting, func(t *testing.T, g *Gateway) {
			answer, took, err := invoke(t, g, test.body)
			if test.limit == 0 {
				if answer != "done" || err != nil {
					t.Errorf("%s: %q, %v after %v", test.body, answer, err, took)
				}
				return
			}
			if isolde.CodeOf(err) != isolde.CodeAgent || !strings.Contains(err.Error(), test.says) || took.Round(time.Second) != test.limit {
				t.Errorf("%s: %q, %v after %v", test.body, answer, err, took)
			}
			// The session is none the worse, and its owner knows.
			s := g.Sessions.Sessions()
			if len(s) != 1 || s[0].InFlight != 0 || s[0].LastError == nil || !strings.Contains(s[0].LastError.Message, test.says) {
				t.Errorf("sessions = %+v", s)
			}
			if answer, _, err := invoke(t, g, "1s"); answer != "done" || err != nil {
				t.Errorf("the next call: %q, %v", answer, err)
			}
		})
	}
}

// A caller that goes away takes its request along, and nobody failed.
func TestCallerThatLeavesCancelsTheAgentsRequest(t *testing.T) {
	gone := make(chan struct{}, 1)
	agent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		gone <- struct{}{}
	}
	serve(t, agent, func(t *testing.T, g *Gateway) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("enough"))
		defer cancel()
		_, err := g.Invoke(ctx, &isolde.Invocation{
			Target: "slow", Session: "session-000000000000000000000000000001", Method: http.MethodPost,
			Header: http.Header{}, Body: strings.NewReader("x"), ContentLength: 1,
		})
		if isolde.CodeOf(err) != isolde.CodeUnavailable {
			t.Errorf("invoke = %v", err)
		}
		synctest.Wait()
		if len(gone) != 1 || g.Sessions.Sessions()[0].InFlight != 0 {
			t.Errorf("the agent still works: %+v", g.Sessions.Sessions())
		}
	})
}
