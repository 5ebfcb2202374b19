package main

import (
	"fmt"
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
	return serve(t)
}

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	talk, err := newConversation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&agent.App{Handler: handler(talk), Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(server.Close)
	return server
}

func ask(t *testing.T, server *httptest.Server, prompt string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post(server.URL+"/invocations", "application/json", strings.NewReader(fmt.Sprintf(`{"prompt": %q}`, prompt)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// text joins the words of a stream.
func text(stream string) string {
	return strings.NewReplacer(`data: "`, "", "\"\n\n", "").Replace(stream)
}

func TestStreamsWordByWord(t *testing.T) {
	const want = "data: \"2 \"\n\ndata: \"* \"\n\ndata: \"5 \"\n\ndata: \"is \"\n\ndata: \"10.\"\n\n"
	if status, got := ask(t, start(t), "2X5"); status != http.StatusOK || got != want {
		t.Errorf("got %d %q, want %q", status, got, want)
	}
}

func TestRemembersTheSession(t *testing.T) {
	server := start(t)
	for _, turn := range [][2]string{
		{"2X5", "2 * 5 is 10."},
		{"and that plus 34?", "10 + 34 is 44."},
		{"please break off here", `I begin to answer, and then data: {"error": "the model broke off, as you asked"`},
		{"what is it divided by 0", "The tool calculator failed: division by zero."},
		{"minus 2", "44 - 2 is 42."},
		{"What is the weather in New York?", "It is sunny in New York."},
		{"1 + 1, and the weather", "1 + 1 is 2. It is sunny in your city."},
	} {
		if _, got := ask(t, server, turn[0]); !strings.HasPrefix(text(got), turn[1]) {
			t.Errorf("%q → %q, want %q", turn[0], text(got), turn[1])
		}
	}
	if _, got := ask(t, start(t), "and plus 10?"); !strings.Contains(text(got), "nothing was calculated") {
		t.Errorf("a new session answered %q", text(got))
	}
}

func TestNoPrompt(t *testing.T) {
	if status, got := ask(t, start(t), " "); status != http.StatusBadRequest || !strings.Contains(got, "has no prompt") {
		t.Errorf("got %d %s", status, got)
	}
}

// TestProvider talks to a server of OpenAI's API that calls no tool.
func TestProvider(t *testing.T) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/chat/completions" || !strings.Contains(string(body), `"get_weather"`) {
			t.Errorf("got %s %s, %v; want the tools in it", r.URL, body, err)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, word := range []string{"Good ", "day."} {
			fmt.Fprintf(w, "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":%q}}]}\n\n", word)
		}
		fmt.Fprint(w, "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	defer provider.Close()
	t.Setenv("BEDROCK_MODEL_ID", "")
	t.Setenv("ANTHROPIC_API_KEY", "")
	t.Setenv("OPENAI_BASE_URL", provider.URL+"/v1")
	if _, got := ask(t, serve(t), "hello"); got != "data: \"Good \"\n\ndata: \"day.\"\n\n" {
		t.Errorf("got %q", got)
	}
}

func TestEvaluate(t *testing.T) {
	for expression, want := range map[string]string{
		"2 * (3 + 4)": "14", "-7 / 2": "-3.5", "1 / 3": "0.333333333333", "7 % 4": "3", "99999999999999999999 + 1": "100000000000000000000",
		"1 / 0": "division by zero", "5 % 0.5": "% wants whole numbers", "2 << 9": "<< is not one of + - * / %",
		"f(1)": "only numbers", "2 +": "is not an arithmetic", strings.Repeat("(", 300): "300 characters",
	} {
		got, err := evaluate(expression)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s → %s, want %s", expression, got, want)
		}
	}
}
