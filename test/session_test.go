package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func TestSessionsKeepTheirStateApart(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		const n, calls = 3, 3
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				for call := 1; call <= calls; call++ {
					r := b.echo(arn, sessionNumber(i), `{}`)
					if r.Count != call || r.Files["cwd"] != call {
						t.Errorf("session %d, call %d: count %d, files %v", i, call, r.Count, r.Files)
					}
				}
			})
		}
		wg.Wait()
		list, err := b.client.Sessions(t.Context(), operator.SessionFilter{})
		if err != nil || len(list) != n {
			t.Fatalf("%d sessions, %v", len(list), err)
		}
		for _, s := range list {
			if s.Requests != calls || s.AgentName != "echo" || s.Driver != b.driver || s.State != isolde.SessionIdle {
				t.Errorf("session %+v", s)
			}
		}
	})
}

func TestFirstInvocationsOfASessionQueue(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/slow_start")
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if resp, body := b.call(arn, sessionNumber(1), strings.NewReader("{}")); resp.StatusCode != 200 {
					t.Errorf("%s: %s", resp.Status, body)
				}
			})
		}
		wg.Wait()
		list, err := b.client.Sessions(t.Context(), operator.SessionFilter{})
		if err != nil || len(list) != 1 || list[0].Requests != 5 {
			t.Errorf("sessions %+v, %v", list, err)
		}
	})
}

func TestSandboxIsTheAgentsOwn(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		address := strings.TrimPrefix(b.url, "http://")
		r := b.echo(arn, sessionNumber(1), fmt.Sprintf(`{"connect":[%q,"169.254.169.254:80"],"read":["/etc/shadow","/proc/1/cmdline"]}`, address))
		for to, result := range r.Connect {
			if result == "connected" {
				t.Errorf("the agent reached %s", to)
			}
		}
		for _, k := range []string{"HOME", "PATH", "AWS_REGION", "DOCKER_CONTAINER"} {
			if r.Env[k] == "" {
				t.Errorf("environment lacks %s: %v", k, r.Env)
			}
		}
		if v := r.Env[asIsolde]; v != "" {
			t.Error("the server's environment reaches the agent")
		}
		if b.driver != "gvisor" {
			return // it isolates no more than this
		}
		if _, leaked := r.Read["/etc/shadow"].(string); leaked {
			t.Error("the agent read the host's /etc/shadow")
		}
		if r.UID == 0 || r.CWD != "/app" {
			t.Errorf("runs as %d in %s", r.UID, r.CWD)
		}
	})
}

func TestLargestPayload(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		payload := bytes.Repeat([]byte("0123456789"), isolde.MaxPayload/10)
		sum := sha256.Sum256(payload)
		resp, body := b.call(arn, sessionNumber(1), bytes.NewReader(payload))
		var r report
		if err := json.Unmarshal(body, &r); err != nil || r.Body.Length != isolde.MaxPayload || r.Body.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: agent got %+v, %v", resp.Status, r.Body, err)
		}
		resp, body = b.call(arn, sessionNumber(1), bytes.NewReader(append(payload, 'x')))
		if resp.StatusCode != 400 || !strings.Contains(string(body), "100000000") {
			t.Errorf("one byte more: %s: %s", resp.Status, body)
		}
		resp, body = b.call(arn, sessionNumber(1), strings.NewReader(`{"bytes":100000000}`))
		if resp.StatusCode != 200 || len(body) != isolde.MaxPayload {
			t.Errorf("answer of 100 MB: %s, %d bytes", resp.Status, len(body))
		}
	})
}

func TestSessionsSurviveTheServersDeath(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		for i := range 3 {
			b.echo(arn, sessionNumber(i), `{"log":"before"}`)
		}
		b.stop(syscall.SIGKILL)
		b.start()
		for i := range 3 {
			if r := b.echo(arn, sessionNumber(i), `{"log":"after"}`); r.Count != 2 || r.Files["cwd"] != 2 {
				t.Errorf("session %d came back as %+v", i, r)
			}
		}
		log := b.mustIsolde("logs", "--session", string(sessionNumber(1)))
		if before, after := strings.Index(log, "before"), strings.Index(log, "after"); before < 0 || after < before {
			t.Errorf("log has a gap:\n%s", log)
		}
		b.stop(syscall.SIGTERM)
		b.start()
		if r := b.echo(arn, sessionNumber(0), `{}`); r.Count != 3 {
			t.Errorf("after a drain the session came back as %+v", r)
		}
	})
}

func TestIdleAndMaximumLifetime(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for more than a minute, the least the API allows")
	}
	b := newBed(t, "process")
	b.deploy("agents/echo")
	folder := t.TempDir()
	copyFile(t, "agents/echo/agent.py", folder+"/agent.py")
	writeFile(t, folder+"/isolde.yaml", "name: brief\nentrypoint: agent.py\nlifecycle: {idleTimeout: 60, maxLifetime: 70}\n")
	arn := b.deploy(folder)
	idle, busy := sessionNumber(1), sessionNumber(2)
	b.echo(arn, idle, `{}`)
	b.echo(arn, busy, `{"busy":300}`)
	ended := func(id isolde.SessionID) operator.Session {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			s, err := b.client.Session(t.Context(), "brief", id)
			if err != nil {
				t.Fatal(err)
			}
			if s.State == isolde.SessionStopped {
				return s
			}
			if time.Now().After(deadline) {
				t.Fatalf("session still %s", s.State)
			}
			time.Sleep(time.Second) // of the minute that the API's least timeout takes
		}
	}
	if s := ended(idle); !strings.Contains(s.EndReason, "idle") {
		t.Errorf("idle session ended because it %s", s.EndReason)
	}
	if s := ended(busy); !strings.Contains(s.EndReason, "maximum lifetime") {
		t.Errorf("busy session ended because it %s", s.EndReason)
	}
	if r := b.echo(arn, idle, `{}`); r.Count != 1 {
		t.Errorf("the ended session's id did not start anew: %+v", r)
	}
}

func TestClientThatGoesAwayFreesTheSession(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := b.request(ctx, arn, sessionNumber(1), strings.NewReader(`{"chunks":100000}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		cancel()
		resp.Body.Close()
		b.await(func() error {
			s, err := b.client.Session(t.Context(), "echo", sessionNumber(1))
			if err == nil && s.InFlight != 0 {
				err = fmt.Errorf("%d requests in flight", s.InFlight)
			}
			return err
		})
	})
}

// await repeats a check until it passes.
func (b *bed) await(check func() error) {
	b.t.Helper()
	err := errors.New("not checked")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	b.t.Fatal(err)
}

func TestLogsAreFollowed(t *testing.T) {
	b := newBed(t, "process")
	arn := b.deploy("agents/echo")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := make(chan string, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for l, err := range b.client.Logs(ctx, operator.LogOptions{Agent: "echo", Follow: true}) {
			if err != nil {
				return
			}
			lines <- l.Line
		}
	}()
	expect := func(want string) {
		t.Helper()
		for {
			select {
			case line := <-lines:
				if strings.Contains(line, want) {
					return
				}
			case <-time.After(time.Minute):
				t.Fatalf("no line %q", want)
			}
		}
	}
	b.echo(arn, sessionNumber(1), `{"log":"one"}`)
	expect("one")
	b.echo(arn, sessionNumber(2), `{"log":"two"}`) // a session that is new
	expect("two")
	b.mustIsolde("session", "stop", string(sessionNumber(1)))
	expect("session ended: it was stopped")
	b.echo(arn, sessionNumber(1), `{"log":"three"}`) // and one that starts anew
	expect("three")
	cancel()
	<-ended
}
