package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/cloudwego/eino/components/model"
	"github.com/cloudwego/eino/schema"
)

// ScriptedModel is a model that needs no key and no network: it says what its
// script says. To Eino it is a model like any other: it reads the conversation,
// asks for tools, finds their results in the next turn and streams an answer
// word by word.
type ScriptedModel struct {
	Script func(messages []*schema.Message) Turn
	Delay  time.Duration // before each word
}

// Turn is what the model says next: either calls or a text.
type Turn struct {
	Calls []ToolCall
	Text  string
	Err   error // fails with it after the text, as a model does whose connection breaks
}

// ToolCall is a call of a tool with its arguments.
type ToolCall struct {
	Tool string
	Args map[string]any
}

// Stream implements model.BaseChatModel.
func (m *ScriptedModel) Stream(ctx context.Context, messages []*schema.Message, _ ...model.Option) (*schema.StreamReader[*schema.Message], error) {
	turn := m.Script(messages)
	out, in := schema.Pipe[*schema.Message](0)
	go func() {
		defer in.Close()
		if len(turn.Calls) > 0 {
			in.Send(schema.AssistantMessage("", toolCalls(turn.Calls, len(messages))), nil)
		}
		for word := range strings.SplitAfterSeq(turn.Text, " ") {
			select {
			case <-ctx.Done():
				in.Send(nil, context.Cause(ctx))
				return
			case <-time.After(m.Delay):
			}
			if word != "" && in.Send(schema.AssistantMessage(word, nil), nil) {
				return // nobody reads on
			}
		}
		if turn.Err != nil {
			in.Send(nil, turn.Err)
		}
	}()
	return out, nil
}

// Generate implements model.BaseChatModel.
func (m *ScriptedModel) Generate(ctx context.Context, messages []*schema.Message, opts ...model.Option) (*schema.Message, error) {
	stream, err := m.Stream(ctx, messages, opts...)
	if err != nil {
		return nil, err
	}
	return schema.ConcatMessageStream(stream)
}

// WithTools implements model.ToolCallingChatModel. The script knows its tools.
func (m *ScriptedModel) WithTools([]*schema.ToolInfo) (model.ToolCallingChatModel, error) {
	return m, nil
}

// toolCalls gives each call an id that no other message's calls have.
func toolCalls(calls []ToolCall, message int) (out []schema.ToolCall) {
	for i, call := range calls {
		args, err := json.Marshal(call.Args)
		if err != nil {
			panic(err) // a mistake of the script
		}
		id := "call_" + strconv.Itoa(message) + "_" + strconv.Itoa(i)
		out = append(out, schema.ToolCall{ID: id, Type: "function", Function: schema.FunctionCall{Name: call.Tool, Arguments: string(args)}})
	}
	return out
}

// Result is what a tool answered.
type Result struct {
	Call ToolCall
	Text string
}

// Failure returns what went wrong, if the tool failed.
func (r Result) Failure() (string, bool) { return strings.CutPrefix(r.Text, failed) }

// lastResults returns what the tools answered to the last message's calls, in
// the order of the calls. There are none if the last message is the user's.
func lastResults(messages []*schema.Message) []Result {
	from := len(messages)
	for from > 0 && messages[from-1].Role == schema.Tool {
		from--
	}
	all := results(messages)
	return all[len(all)-(len(messages)-from):]
}

// results returns what the tools answered in the conversation so far.
func results(messages []*schema.Message) (out []Result) {
	answers := make(map[string]string) // by the call's id
	for _, m := range messages {
		if m.Role == schema.Tool {
			answers[m.ToolCallID] = m.Content
		}
	}
	for _, m := range messages {
		for _, call := range m.ToolCalls {
			text, ok := answers[call.ID]
			var args map[string]any
			if ok && json.Unmarshal([]byte(call.Function.Arguments), &args) == nil {
				out = append(out, Result{ToolCall{call.Function.Name, args}, text})
			}
		}
	}
	return out
}

// asked returns the text of the user's last message.
func asked(messages []*schema.Message) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == schema.User {
			return messages[i].Content
		}
	}
	return ""
}
