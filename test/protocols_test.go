package test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/operator"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/isolde-run/isolde/internal/need"
)

// peer runs clients/protocol_client.py, which has the SDKs of the agents that
// it calls, and decodes what it prints.
func peer[T any](t *testing.T, args ...string) (got T) {
	t.Helper()
	python := need.Command(t, "python3")
	const lock = "agents/mcp/requirements.txt" // the same for all agents of protocols
	packages := installed(t, "protocols", lock, func(dir string) *exec.Cmd {
		return exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir, "-r", lock)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, append([]string{"clients/protocol_client.py"}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out, stderr.String())
	}
	return got
}

// invocations is where an agent is invoked.
func (b *bed) invocations(arn string) string {
	return b.url + "/runtimes/" + strings.ReplaceAll(arn, "/", "%2F") + "/invocations?qualifier=DEFAULT"
}

// TestMCP has MCP servers that keep sessions and such that do not called by
// the SDKs in Go and Python. count tells whether a client's calls reach the
// same sandbox.
func TestMCP(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		for i, stateless := range []string{"true", "false"} {
			t.Run("stateless "+stateless, func(t *testing.T) {
				t.Setenv("STATELESS", stateless)
				url := b.invocations(b.deploy("agents/mcp"))
				testGoMCP(t, url)
				type result struct {
					Tools  []string
					Added  int
					Counts []int
				}
				want := result{[]string{"add", "count"}, 42, []int{1, 2}}
				if diff := cmp.Diff(want, peer[result](t, "mcp", url, "legacy", "")); diff != "" {
					t.Errorf("Python client (-want +got):\n%s", diff)
				}
				// Since revision 2026-07-28 MCP has no sessions; the runtime's header makes one.
				if diff := cmp.Diff(want, peer[result](t, "mcp", url, "auto", string(sessionNumber(i)))); diff != "" {
					t.Errorf("Python client without MCP sessions (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func testGoMCP(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	http := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: http}, nil)
	if err != nil {
		t.Errorf("connect: %v", err)
		return
	}
	defer s.Close()
	for _, want := range []float64{1, 2, 3} {
		r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "count"})
		if err != nil {
			t.Errorf("Go client, call %v: %v", want, err)
			return
		}
		if got := r.StructuredContent.(map[string]any)["result"]; got != want {
			t.Errorf("Go client, session %q: call %v → %v: another sandbox", s.ID(), want, got)
		}
	}
}

// TestA2A has an agent called by its SDK, which finds it by its card.
func TestA2A(t *testing.T) {
	b := newBed(t, "process")
	arn := b.deploy("agents/a2a")
	url := strings.TrimSuffix(b.invocations(arn), "?qualifier=DEFAULT")
	got := peer[struct{ Answers []string }](t, "a2a", url, string(sessionNumber(1)), "hello", "again")
	if diff := cmp.Diff([]string{"hello 1", "again 2"}, got.Answers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list, err := b.client.Sessions(t.Context(), operator.SessionFilter{})
	if err != nil || len(list) != 1 {
		t.Errorf("sessions %+v, %v", list, err)
	}
}

// TestAGUI has an agent called as an AG-UI client does, with events and errors
// parsed by the SDK.
func TestAGUI(t *testing.T) {
	b := newBed(t, "process")
	arn := b.deploy("agents/agui")
	type event struct{ Type, Text string }
	type result struct {
		Status int
		Events []event
	}
	want := result{200, []event{
		{"RUN_STARTED", ""},
		{"TEXT_MESSAGE_START", ""},
		{"TEXT_MESSAGE_CONTENT", "hi "},
		{"TEXT_MESSAGE_CONTENT", "there "},
		{"TEXT_MESSAGE_END", ""},
		{"RUN_FINISHED", ""},
	}}
	if diff := cmp.Diff(want, peer[result](t, "agui", b.invocations(arn), "hi there")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	missing := strings.Replace(b.invocations(arn), "DEFAULT", "none", 1)
	if diff := cmp.Diff(result{404, []event{{"RUN_ERROR", "RESOURCE_NOT_FOUND"}}}, peer[result](t, "agui", missing, "hi")); diff != "" {
		t.Errorf("no endpoint (-want +got):\n%s", diff)
	}
}
