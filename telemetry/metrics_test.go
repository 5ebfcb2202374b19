package telemetry

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

func TestMetrics(t *testing.T) {
	m := New(func() Reading {
		return Reading{
			Version: "v1", Driver: "fake", MaxSessions: 10, MemoryPromised: 1024, MemoryTotal: 4096,
			Sessions: map[SessionGroup]int{{"a-1", isolde.SessionIdle}: 2, {"b-1", isolde.SessionIdle}: 1, {"b-1", isolde.SessionActive}: 1},
		}
	})
	m.Invocation("a-1", nil, time.Second)
	m.Invocation("a-1", isolde.Errorf(isolde.CodeAgent, "it failed"), time.Second)
	m.SessionStarted("fake", time.Second)
	m.SessionEnded(isolde.EndIdle)
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`isolde_build_info{driver="fake",version="v1"} 1`,
		`isolde_sessions{state="Starting"} 0`,
		`isolde_sessions{state="Idle"} 3`,
		`isolde_runtime_sessions{runtime="b-1",state="Active"} 1`,
		`isolde_sessions_max 10`,
		`isolde_memory_promised_bytes 1024`,
		`isolde_machine_memory_bytes 4096`,
		`isolde_invocations_total{result="ok",runtime="a-1"} 1`,
		`isolde_invocations_total{result="agent_error",runtime="a-1"} 1`,
		`isolde_invocation_duration_seconds_count{runtime="a-1"} 2`,
		`isolde_session_start_duration_seconds_count{driver="fake"} 1`,
		`isolde_session_ends_total{cause="idle"} 1`,
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
	if strings.Contains(string(text), "isolde_memory_budget_bytes") {
		t.Error("there is a budget")
	}
}
