// Command go-context is an agent that knows who asks, and remembers what was
// said in the session.
package main

import (
	"context"
	"fmt"
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

// newConversation makes the session's. The runtime gives each session id a
// sandbox and so a process of its own: nothing is shared with another.
func newConversation(ctx context.Context) (*Conversation, error) {
	model, err := pickModel(ctx, script)
	if err != nil {
		return nil, err
	}
	tools, err := assistantTools()
	if err != nil {
		return nil, err
	}
	return NewConversation(ctx, assistantPrompt+" Begin by greeting the user by name.", model, tools)
}

// Request is the payload of an invocation.
type Request struct {
	Prompt string `json:"prompt"`
	UserID any    `json:"user_id"` // a key of users, as a string or a number
}

var users = map[string]string{"1": "Maira", "2": "Mani", "3": "Mark", "4": "Ishan", "5": "Dhawal"}

// handler answers in one text.
func handler(talk *Conversation) agent.Handler {
	return agent.Handle(func(ctx context.Context, in Request) (string, error) {
		if strings.TrimSpace(in.Prompt) == "" {
			return "", agent.Errorf(400, `the payload has no prompt; send for example {"prompt": "2X5", "user_id": "1"}`)
		}
		id := fmt.Sprint(in.UserID)
		name, ok := users[id]
		if !ok {
			return "", agent.Errorf(400, "there is no user %q; user_id is one of 1 to %d", id, len(users))
		}
		slog.InfoContext(ctx, "invoked", "user", id) // with the ids of session and request; prompts stay out of the log
		prompt := fmt.Sprintf("My name is %s. Here is my request: %s\n\nAdditional context: this is session %s.",
			name, in.Prompt, agent.FromContext(ctx).SessionID)
		var answer strings.Builder
		for piece, err := range talk.Ask(ctx, prompt) {
			if err != nil {
				return "", err
			}
			answer.WriteString(piece)
		}
		return answer.String(), nil
	})
}
