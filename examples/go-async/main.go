// Command go-async is an agent that works in the background while you go on
// talking to it: while the work runs /ping answers HealthyBusy, so that the
// runtime keeps the session though nobody calls it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/schema"

	"github.com/isolde-run/isolde/agent"
)

func main() {
	talk, err := newConversation(context.Background(), &Worker{Pause: 200 * time.Millisecond})
	if err != nil {
		slog.Error("cannot start", "error", err)
		os.Exit(1)
	}
	agent.Main(handler(talk))
}

func newConversation(ctx context.Context, w *Worker) (*Conversation, error) {
	model, err1 := pickModel(ctx, script)
	start, err2 := newTool("start_counting", "Start to count the primes below a number, in the background.", w.start)
	progress, err3 := newTool("get_progress", "Tell how far the work in the background is, or its result.", w.progress)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return NewConversation(ctx, "You count primes for the user, in the background, with your tools.", model, []tool.BaseTool{start, progress})
}

// Request is the payload of an invocation.
type Request struct {
	Prompt string `json:"prompt"`
}

func handler(talk *Conversation) agent.Handler {
	return agent.Handle(func(ctx context.Context, in Request) (string, error) {
		if strings.TrimSpace(in.Prompt) == "" {
			return "", agent.Errorf(400, `the payload has no prompt; send for example {"prompt": "Count the primes below 2000000"}`)
		}
		var answer strings.Builder
		for piece, err := range talk.Ask(ctx, in.Prompt) {
			if err != nil {
				return "", err
			}
			answer.WriteString(piece)
		}
		return answer.String(), nil
	})
}

// Worker has the session's work, one job at a time.
type Worker struct {
	Pause time.Duration

	mu  sync.Mutex
	job *Job // the last one; nil if there was none
}

type startArgs struct {
	Limit int `json:"limit" jsonschema:"required" jsonschema_description:"The number, 2 to 100000000."`
}

// start returns at once. agent.Go keeps the session busy until the job ends.
func (w *Worker) start(ctx context.Context, in startArgs) (string, error) {
	if in.Limit < 2 || in.Limit > maxLimit {
		return "", fmt.Errorf("%d is not from 2 to %d", in.Limit, maxLimit)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.job != nil && !w.job.Done() {
		return "I am still busy. " + w.job.String(), nil
	}
	w.job = &Job{Limit: in.Limit, Pause: w.Pause}
	agent.Go(ctx, "count primes", w.job.Run)
	return fmt.Sprintf("I started to count the primes below %d. Ask me how far I am.", in.Limit), nil
}

func (w *Worker) progress(context.Context, struct{}) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.job == nil {
		return "Nothing was started in this session.", nil
	}
	return w.job.String(), nil
}

var (
	below  = regexp.MustCompile(`(?i)\bprimes (?:below|under|up to) ([\d,]+)`)
	status = regexp.MustCompile(`(?i)\b(far|done|ready|progress|status|result|how many)\b`)
)

// script is what the scripted model does.
func script(messages []*schema.Message) Turn {
	if answers := lastResults(messages); len(answers) > 0 {
		return Turn{Text: answers[0].Text}
	}
	prompt := asked(messages)
	if m := below.FindStringSubmatch(prompt); m != nil {
		if limit, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", "")); err == nil {
			return Turn{Calls: []ToolCall{{"start_counting", map[string]any{"limit": limit}}}}
		}
	}
	if status.MatchString(prompt) {
		return Turn{Calls: []ToolCall{{"get_progress", map[string]any{}}}}
	}
	return Turn{Text: "I am a small scripted model. Try: Count the primes below 2000000, and then: How far are you?"}
}
