package test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDeploymentsThatCannotWork(t *testing.T) {
	b := newBed(t, "process")
	for _, test := range []struct {
		folder string
		exit   int
		want   []string // of standard error
	}{
		{"agents/missing_entrypoint", 2, []string{"error:", "isolde.yaml", "hint:"}},
		{"agents/bad_dependency", 2, []string{"error: ", "cannot install", "hint:"}},
		{"agents/not_there", 2, []string{"error:", "not_there"}},
	} {
		t.Run(filepath.Base(test.folder), func(t *testing.T) {
			_, errs, exit := b.isolde("deploy", test.folder)
			if exit != test.exit {
				t.Errorf("exit code %d, want %d", exit, test.exit)
			}
			for _, want := range test.want {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in:\n%s", want, errs)
				}
			}
		})
	}
	if agents, err := b.client.Agents(t.Context()); err != nil || len(agents) != 0 {
		t.Errorf("failed deployments left %+v, %v", agents, err)
	}
}

func TestAgentsThatFail(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		for _, test := range []struct {
			agent, payload string
			message        string // to the API's caller
			detail         string // to the agent's owner, by isolde invoke or the log
		}{
			{"exits_at_once", `{}`, "exited with code 3 before it was healthy", "Traceback"},
			{"never_healthy", `{}`, "Runtime initialization time exceeded", "GET /ping"},
			{"never_listens", `{}`, "Runtime initialization time exceeded", "GET /ping"},
			{"answers_500", `{}`, "Received error (500) from runtime.", "500"},
		} {
			t.Run(test.agent, func(t *testing.T) {
				arn := b.deploy("agents/" + test.agent)
				resp, body := b.call(arn, sessionNumber(1), strings.NewReader(test.payload))
				if resp.StatusCode != 424 || resp.Header.Get("X-Amzn-ErrorType") != "RuntimeClientError" || !strings.Contains(string(body), test.message) {
					t.Errorf("%s %s: %s", resp.Status, resp.Header.Get("X-Amzn-ErrorType"), body)
				}
				if resp.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id") != string(sessionNumber(1)) {
					t.Error("no session header in an error")
				}
				_, errs, exit := b.isolde("invoke", "--agent", test.agent, "--session", string(sessionNumber(2)), test.payload)
				if exit != isolde.CodeAgent.ExitCode() || !strings.Contains(errs, test.message) || !strings.Contains(errs, test.detail) {
					t.Errorf("isolde invoke: exit code %d\n%s", exit, errs)
				}
			})
		}
		list, err := b.client.Sessions(t.Context(), operator.SessionFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.AgentName != "answers_500" {
				t.Errorf("session left: %+v", s)
			}
		}
	}, "--init-timeout", "5s")
}

func TestAgentThatBreaksItsStream(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/breaks_stream")
		resp, err := b.request(t.Context(), arn, sessionNumber(1), strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err == nil || len(body) == 0 {
			t.Errorf("read %q, %v; want a part and an error", body, err)
		}
		_, errs, exit := b.isolde("invoke", "--agent", "breaks_stream", "--session", string(sessionNumber(1)), "{}")
		if exit == 0 || !strings.Contains(errs, "error:") {
			t.Errorf("isolde invoke: exit code %d\n%s", exit, errs)
		}
	})
}

func TestAgentThatBecomesUnhealthy(t *testing.T) {
	b := newBed(t, "process")
	arn := b.deploy("agents/unhealthy_later")
	b.call(arn, sessionNumber(1), strings.NewReader(`{"healthy":false}`))
	b.await(func() error {
		s, err := b.client.Session(t.Context(), "", sessionNumber(1))
		if err == nil && !strings.Contains(s.EndReason, "unhealthy") {
			err = isolde.Errorf(isolde.CodeConflict, "session is %s", s.State)
		}
		return err
	})
}

func TestRequestsThatAreRefused(t *testing.T) {
	b := newBed(t, "process")
	arn := b.deploy("agents/echo")
	for _, test := range []struct {
		name, arn string
		session   isolde.SessionID
		status    int
		message   string
	}{
		{"short session id", arn, "short", 400, "has 5 characters; it must have 33 to 256"},
		{"unknown agent", strings.Replace(arn, "echo-", "nobody-", 1), sessionNumber(1), 404, "no agent runtime"},
	} {
		resp, body := b.call(test.arn, test.session, strings.NewReader("{}"))
		if resp.StatusCode != test.status || !strings.Contains(string(body), test.message) || resp.Header.Get("X-Amzn-ErrorType") == "" {
			t.Errorf("%s: %s: %s", test.name, resp.Status, body)
		}
	}
	if list, err := b.client.Sessions(t.Context(), operator.SessionFilter{Ended: true}); err != nil || len(list) != 0 {
		t.Errorf("refused requests left sessions %+v, %v", list, err)
	}
}

func TestServersThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	running := newBed(t, "process")
	for _, test := range []struct {
		name string
		args []string
		exit int
		want []string
	}{
		{"port in use", []string{"--listen", taken.Addr().String()}, 5, []string{taken.Addr().String(), "--listen"}},
		{"not loopback", []string{"--listen", "0.0.0.0:0"}, 9, []string{"0.0.0.0", "loopback"}},
		{"bad address", []string{"--listen", "nonsense"}, 2, []string{`"nonsense"`}},
		{"data directory in use", []string{"--listen", "127.0.0.1:0", "--data-dir", running.data}, 5, []string{"another server", "--data-dir"}},
		{"no runsc", []string{"--listen", "127.0.0.1:0", "--driver", "gvisor", "--runsc", "/not/there"}, 9, []string{"/not/there", "make bin/runsc"}},
		{"unknown driver", []string{"--listen", "127.0.0.1:0", "--driver", "docker"}, 2, []string{`"docker"`, "gvisor"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"serve", "--data-dir", t.TempDir()}, test.args...)
			cmd := command(t, t.TempDir(), args...)
			out, err := cmd.CombinedOutput()
			if exit := cmd.ProcessState.ExitCode(); exit != test.exit {
				t.Errorf("exit code %d (%v), want %d:\n%s", exit, err, test.exit, out)
			}
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
}
