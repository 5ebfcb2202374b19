package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/agent"
)

func TestWorksInTheBackground(t *testing.T) {
	for _, name := range []string{"BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"} {
		t.Setenv(name, "")
	}
	t.Setenv("SCRIPTED_MODEL_DELAY_MS", "0")
	worker := &Worker{}
	talk, err := newConversation(t.Context(), worker)
	if err != nil {
		t.Fatal(err)
	}
	app := &agent.App{Handler: handler(talk), Logger: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(app)
	defer server.Close()
	expect := func(prompt, want string) {
		t.Helper()
		resp, err := http.Post(server.URL+"/invocations", "application/json", strings.NewReader(`{"prompt": "`+prompt+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s → %s, %v, want %s", prompt, body, err, want)
		}
	}
	expect("How far are you?", "Nothing was started")
	expect("Count the primes below 1", "1 is not from 2 to")
	if got := app.Status(); got != agent.Healthy {
		t.Errorf("idle: %s", got)
	}
	expect("Count the primes below 200,001", "I started")
	for app.Status() == agent.HealthyBusy {
		time.Sleep(time.Millisecond)
	}
	expect("What is the result?", "There are 17984 primes below 200001.")
	worker.Pause = time.Hour // the next job stays in its first piece
	expect("Count the primes below 1,000,000", "I started")
	expect("Count the primes below 10", "I am still busy")
	if got := app.Status(); got != agent.HealthyBusy {
		t.Errorf("while it works: %s", got)
	}
}
