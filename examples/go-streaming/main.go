// Command go-streaming is an agent that streams its answer, calls tools and
// remembers its session.
package main

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"github.com/isolde-run/isolde/agent"
)

func main() {
	talk, err := newConversation(context.Background())
	if err != nil {
		slog.Error("cannot start", "error", err)
		os.Exit(1)
	}
	agent.Main(handler(talk))
}

// newConversation makes the session's: one process serves one session.
func newConversation(ctx context.Context) (*Conversation, error) {
	model, err := pickModel(ctx, script)
	if err != nil {
		return nil, err
	}
	tools, err := assistantTools()
	if err != nil {
		return nil, err
	}
	return NewConversation(ctx, assistantPrompt, model, tools)
}

// Request is the payload of an invocation.
type Request struct {
	Prompt string `json:"prompt"`
}

// handler streams each piece of the answer when the model has made it. An
// error in the middle becomes the last event.
func handler(talk *Conversation) agent.Handler {
	return agent.Handle(func(ctx context.Context, in Request) (agent.Stream, error) {
		if strings.TrimSpace(in.Prompt) == "" {
			return nil, agent.Errorf(400, `the payload has no prompt; send for example {"prompt": "2X5"}`)
		}

		return agent.Seq(talk.Ask(ctx, in.Prompt)), nil
	})
}
