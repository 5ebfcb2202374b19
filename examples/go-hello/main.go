// Command go-hello is an agent on Isolde's SDK for Go. It counts its
// invocations in memory and keeps a notes file, to show that both belong to one
// session.
package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde/agent"
)

func main() {
	a := &Agent{Notes: "notes.txt", Pause: 20 * time.Millisecond}
	agent.Main(a.Invoke)
}

// Agent answers prompts. It lives as long as the sandbox of its session.
type Agent struct {
	Notes string        // path of the notes file
	Pause time.Duration // before each streamed word

	mu    sync.Mutex // calls of a session may run at the same time
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

// Invoke is the entry point. It takes the request itself, in place of
// agent.Handle's payload, since it looks at the Accept header.
func (a *Agent) Invoke(ctx context.Context, r *http.Request) (any, error) {
	var in Request
	if err := agent.Decode(ctx, r.Body, &in); err != nil {
		return nil, err
	}
	answer, err := a.answer(in.Prompt)
	if err != nil {
		return nil, err
	}
	answer.Session = agent.FromContext(ctx).SessionID
	slog.InfoContext(ctx, "answered", "count", answer.Count) // see: isolde logs
	stream := prefersStream(r.Header.Get("Accept"))
	if in.Stream != nil {
		stream = *in.Stream
	}
	if stream {
		return agent.Seq(a.words(ctx, answer.Answer)), nil
	}
	return answer, nil
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

// words yields the text word by word, as a model would.
func (a *Agent) words(ctx context.Context, text string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for word := range strings.SplitAfterSeq(text, " ") {
			select {
			case <-ctx.Done(): // the caller went away
				return
			case <-time.After(a.Pause):
			}
			if !yield(word, nil) {
				return
			}
		}
	}
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

// prefersStream reports whether an Accept header names event streams, and
// before plain JSON.
func prefersStream(accept string) bool {
	stream, plain := strings.Index(accept, "text/event-stream"), strings.Index(accept, "application/json")
	return stream >= 0 && (plain < 0 || stream < plain)
}
