// Command go-hello is an agent on the plain AgentCore contract, with nothing
// but the standard library: POST /invocations and GET /ping on port 8080.
//
// It counts its invocations in memory and keeps a notes file, to show that
// both belong to one session.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const sessionHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("serve", "err", err)
		os.Exit(1)
	}
}

// run serves the agent until ctx ends, and lets calls finish for five seconds.
func run(ctx context.Context) error {
	agent := &Agent{Notes: "notes.txt", Pause: 20 * time.Millisecond, Started: time.Now()}
	server := &http.Server{Addr: ":8080", Handler: agent.Handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// Agent answers prompts. It lives as long as the sandbox of its session.
type Agent struct {
	Notes   string        // path of the notes file
	Pause   time.Duration // before each streamed word
	Started time.Time     // since when it is healthy

	mu    sync.Mutex
	count int
}

// Request is the payload of an invocation.
type Request struct {
	Prompt string `json:"prompt"`
	Stream *bool  `json:"stream"` // answer as text/event-stream; if it is left out, the Accept header decides
}

// Answer is the response that is not streamed.
type Answer struct {
	Answer  string   `json:"answer"`
	Count   int      `json:"count"` // invocations of this session so far
	Notes   []string `json:"notes"` // what the session noted, oldest first
	Session string   `json:"session,omitempty"`
}

// Handler serves the two paths of the contract.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invocations", a.invoke)
	mux.HandleFunc("GET /ping", a.ping)
	return mux
}

// ping says that the agent is well, and since when: the status never changes
// here, and a time that advanced at every ping would keep an idle session
// alive for ever.
func (a *Agent) ping(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"status": "Healthy", "time_of_last_update": a.Started.Unix()})
}

func (a *Agent) invoke(w http.ResponseWriter, r *http.Request) {
	var req Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		writeError(w, http.StatusBadRequest, `the payload must be JSON such as {"prompt": "hello"}: `+err.Error())
		return
	}
	answer, err := a.answer(req.Prompt)
	if err != nil {
		slog.Error("answer", "err", err)
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	stream := prefersStream(r.Header.Get("Accept"))
	if req.Stream != nil {
		stream = *req.Stream
	}
	if stream {
		a.stream(w, r, answer.Answer)
		return
	}
	answer.Session = r.Header.Get(sessionHeader)
	writeJSON(w, http.StatusOK, answer)
}

// answer does what the prompt says. "note: milk" writes milk down.
func (a *Agent) answer(prompt string) (Answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.count++
	if note, ok := strings.CutPrefix(prompt, "note:"); ok {
		if err := a.append(strings.TrimSpace(note)); err != nil {
			return Answer{}, err
		}
	}
	notes, err := a.read()
	if err != nil {
		return Answer{}, err
	}
	text := fmt.Sprintf("You said %q. This is call %d of this session; notes: %d.", prompt, a.count, len(notes))
	return Answer{Answer: text, Count: a.count, Notes: notes}, nil
}

func (a *Agent) append(note string) error {
	f, err := os.OpenFile(a.Notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open notes: %w", err)
	}
	_, err = fmt.Fprintln(f, strings.ReplaceAll(note, "\n", " "))
	return errors.Join(err, f.Close())
}

func (a *Agent) read() ([]string, error) {
	data, err := os.ReadFile(a.Notes)
	if errors.Is(err, os.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

// stream sends the text as server-sent events: a JSON string a word, as the
// official SDK for Python does, each flushed at once.
func (a *Agent) stream(w http.ResponseWriter, r *http.Request, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	for word := range strings.SplitAfterSeq(text, " ") {
		select {
		case <-r.Context().Done(): // the caller went away
			return
		case <-time.After(a.Pause):
		}
		data, _ := json.Marshal(word) // a string cannot fail
		fmt.Fprintf(w, "data: %s\n\n", data)
		flusher.Flush()
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

// prefersStream reports whether an Accept header names event streams, and
// before plain JSON.
func prefersStream(accept string) bool {
	stream, plain := strings.Index(accept, "text/event-stream"), strings.Index(accept, "application/json")
	return stream >= 0 && (plain < 0 || stream < plain)
}
