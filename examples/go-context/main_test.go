package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/agent"
)

// start serves an agent as a new session has it, with its scripted model.
func start(t *testing.T) *httptest.Server {
	t.Helper()
	for _, name := range []string{"BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"} {
		t.Setenv(name, "")
	}
	t.Setenv("SCRIPTED_MODEL_DELAY_MS", "0")
	talk, err := newConversation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&agent.App{Handler: handler(talk), Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(server.Close)
	return server
}

func ask(t *testing.T, server *httptest.Server, payload string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, server.URL+"/invocations", strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	// Digits and dashes that are no arithmetic.
	req.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "2024-11-22-0123456789-session-of-33")
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestRemembersTheSession(t *testing.T) {
	server := start(t)
	for _, turn := range [][2]string{
		{`{"prompt": "what is the weather?", "user_id": "1"}`, `"Hello Maira. It is sunny in your city."`},
		{`{"prompt": "2X5", "user_id": "1"}`, `"Hello Maira. 2 * 5 is 10."`},
		{`{"prompt": "and that plus 34?", "user_id": 1}`, `"Hello Maira. 10 + 34 is 44."`},
	} {
		if got := ask(t, server, turn[0]); got != turn[1] {
			t.Errorf("%s → %s, want %s", turn[0], got, turn[1])
		}
	}
	if got := ask(t, start(t), `{"prompt": "And plus 10?", "user_id": "3"}`); !strings.HasPrefix(got, `"Hello Mark. I have no result`) {
		t.Errorf("a new session answered %s", got)
	}
}

func TestBadPayloads(t *testing.T) {
	server := start(t)
	for payload, want := range map[string]string{
		`{"user_id": "1"}`:                  "has no prompt",
		`{"prompt": "2X5", "user_id": "9"}`: `there is no user \"9\"`,
		`{"prompt": "2X5"}`:                 "there is no user",
	} {
		if got := ask(t, server, payload); !strings.Contains(got, want) {
			t.Errorf("%s → %s, want %s", payload, got, want)
		}
	}
}
