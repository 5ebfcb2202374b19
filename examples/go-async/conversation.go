package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/cloudwego/eino/adk"
	"github.com/cloudwego/eino/components/model"
	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/schema"
)

// Conversation is an agent of Eino, and what it and its user said so far.
type Conversation struct {
	runner *adk.Runner

	mu       sync.Mutex // held for a turn: the next prompt waits
	messages []*schema.Message
}

// NewConversation returns a conversation in which nothing was said yet.
func NewConversation(ctx context.Context, prompt string, m model.ToolCallingChatModel, tools []tool.BaseTool) (*Conversation, error) {
	config := &adk.ChatModelAgentConfig{Name: "assistant", Description: "Answers the user.", Instruction: prompt, Model: m}
	config.ToolsConfig.Tools = tools
	a, err := adk.NewChatModelAgent(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("make agent: %w", err)
	}
	return &Conversation{runner: adk.NewRunner(ctx, adk.RunnerConfig{Agent: a, EnableStreaming: true})}, nil
}

// Ask yields the pieces of the answer to a prompt as they are made; an error is
// the last. A turn that failed, or that was left in the middle, is forgotten.
func (c *Conversation) Ask(ctx context.Context, prompt string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the agent's turn if the caller goes away

		said := append(c.messages[:len(c.messages):len(c.messages)], schema.UserMessage(prompt))
		for events := c.runner.Run(ctx, said); ; {
			event, ok := events.Next()
			if !ok {
				break
			}
			if event.Err != nil {
				yield("", event.Err)
				return
			}
			if event.Output == nil || event.Output.MessageOutput == nil {
				continue
			}
			message, err := read(event.Output.MessageOutput, yield)
			if errors.Is(err, errLeft) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
			said = append(said, message)
		}
		c.messages = said
	}
}

var errLeft = errors.New("the caller went away")

// read returns a whole message, and yields its text on the way if it is the
// assistant's.
func read(output *adk.MessageVariant, yield func(string, error) bool) (*schema.Message, error) {
	tell := func(m *schema.Message) error {
		if output.Role == schema.Assistant && m.Content != "" && !yield(m.Content, nil) {
			return errLeft
		}
		return nil
	}
	if !output.IsStreaming {
		return output.Message, tell(output.Message)
	}
	defer output.MessageStream.Close()
	var parts []*schema.Message
	for {
		part, err := output.MessageStream.Recv()
		if errors.Is(err, io.EOF) {
			return schema.ConcatMessages(parts)
		}
		if err == nil {
			err = tell(part)
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
}
