package sandboxtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

func fakeClient(s sandbox.Sandbox) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.Dial(ctx, 8080)
		},
	}}
}

func startFake(t *testing.T, f *Fake, id sandbox.ID) *FakeSandbox {
	t.Helper()
	s, err := f.Start(t.Context(), sandbox.Spec{ID: id, Labels: map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*FakeSandbox)
}

func TestFakeEchoesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Fake{}
		defer f.StopAll()
		s := startFake(t, f, "s1")
		resp, err := fakeClient(s).Post("http://agent/invocations", "application/json", strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); string(body) != `{"a":1}` {
			t.Errorf("body = %q", body)
		}
		f.Close()
		found, err := f.Recover(t.Context())
		if err != nil || len(found) != 1 || found[0].Labels()["k"] != "v" {
			t.Fatalf("Recover = %v, %v", found, err)
		}
		if err := found[0].Stop(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Dial(t.Context(), 8080); !errors.Is(err, net.ErrClosed) {
			t.Errorf("dial after stop: %v", err)
		}
		if f.Live() != 0 || f.MaxLive() != 1 || f.Starts() != 1 {
			t.Errorf("live %d, max %d, starts %d", f.Live(), f.MaxLive(), f.Starts())
		}
	})
}

func TestFakeFollowsItsScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := Script{StartDelay: time.Minute, HealthyAfter: time.Minute, ExitAfter: time.Hour, ExitCode: 7, IgnoreTerm: true}
		f := &Fake{Script: func(sandbox.Spec) Script { return script }}
		defer f.StopAll()

		begin := time.Now()
		s := startFake(t, f, "s1")
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("start took %v", took)
		}
		if _, err := s.Dial(t.Context(), 8080); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial before healthy: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		s.SetPing(503, "broken")
		resp, err := fakeClient(s).Get("http://agent/ping")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 503 || s.Pings() != 1 {
			t.Errorf("ping = %d, pings = %d", resp.StatusCode, s.Pings())
		}
		<-s.Done()
		if got := s.Exit(); got != (sandbox.Exit{Code: 7, Reason: sandbox.ExitedItself}) {
			t.Errorf("exit = %+v", got)
		}
		if _, err := s.Dial(t.Context(), 8080); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial after exit: %v", err)
		}

		s = startFake(t, f, "s2")
		begin = time.Now()
		if err := s.Stop(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("stop took %v", took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Start(ctx, sandbox.Spec{ID: "s3"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start with a short context: %v", err)
		}
		script = Script{StartError: isolde.Errorf(isolde.CodeAgent, "no such command")}
		if _, err := f.Start(t.Context(), sandbox.Spec{ID: "s4"}); isolde.CodeOf(err) != isolde.CodeAgent {
			t.Errorf("scripted start error: %v", err)
		}
		script = Script{StopError: io.ErrUnexpectedEOF}
		s = startFake(t, f, "s5")
		if err := s.Stop(t.Context(), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("scripted stop error: %v", err)
		}
		if f.Sandbox("s5") == nil {
			t.Error("a sandbox that refused to stop counts as gone")
		}
	})
}

func TestFakeBreaksConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		f := &Fake{Script: func(sandbox.Spec) Script { return Script{Agent: hang} }}
		defer f.StopAll()
		for name, fail := range map[string]func(*FakeSandbox){
			"drop": (*FakeSandbox).DropConnections,
			"exit": func(s *FakeSandbox) { s.ExitWith(1) },
			"stop": func(s *FakeSandbox) { _ = s.Stop(t.Context(), 0) },
		} {
			s := startFake(t, f, sandbox.ID(name))
			resp, err := fakeClient(s).Post("http://agent/invocations", "text/plain", nil)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { fail(s) })
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "first" || err == nil {
				t.Errorf("%s: body %q, error %v; want a broken stream", name, body, err)
			}
		}
	})
}

func TestFakeKeepsItsLimit(t *testing.T) {
	f := &Fake{Limits: &sandbox.Capabilities{MaxSandboxes: 1}}
	defer f.StopAll()
	startFake(t, f, "s1")
	if _, err := f.Start(t.Context(), sandbox.Spec{ID: "s2"}); isolde.CodeOf(err) != isolde.CodeQuota {
		t.Errorf("second start: %v", err)
	}
}
