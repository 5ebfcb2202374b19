// Command conformance is the agent that Isolde's conformance test asks the
// same as agents on AWS's SDKs for Python and TypeScript; see test/conformance
// of Isolde. The payload's "case" says what it does.
package main

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"os"
	"strconv"

	"github.com/isolde-run/isolde/agent"
)

func main() {
	app := &agent.App{Handler: agent.Handle(answer), WebSocket: talk}
	app.Port, _ = strconv.Atoi(os.Getenv("PORT"))
	ask = app.ForceStatus
	app.Main()
}

// ask forces the status.
var ask func(agent.Status)

func answer(ctx context.Context, in any) (any, error) {
	object, _ := in.(map[string]any)
	switch object["case"] {
	case "object":
		return struct {
			A int    `json:"a"`
			B []any  `json:"b"`
			C string `json:"c"`
		}{1, []any{true, nil, 1.5}, "x, y: z"}, nil
	case "text":
		return "hé <b> & \u2028 \" \\ \n", nil
	case "null":
		return nil, nil
	case "echo":
		return in, nil
	case "bytes":
		return []byte("raw"), nil
	case "unserializable":
		return func() {}, nil
	case "error":
		return nil, errors.New(`no "model"`)
	case "status":
		return nil, agent.Errorf(http.StatusNotFound, "no such user")
	case "response":
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte("taken"))
		}), nil
	case "stream":
		return agent.Seq(stream(nil)), nil
	case "stream that fails":
		return agent.Seq(stream(errors.New("mid"))), nil
	case "stream that fails at once":
		return agent.Seq(func(yield func(any, error) bool) { yield(nil, errors.New("first")) }), nil
	case "empty stream":
		return agent.Seq(func(func(any, error) bool) {}), nil
	case "context":
		call := agent.FromContext(ctx)
		return struct {
			Session string `json:"session"`
			Request string `json:"request"`
			Token   string `json:"token"`
			Custom  string `json:"custom"`
			Auth    string `json:"authorization"`
			Cookie  string `json:"cookie"`
			Listed  string `json:"listed"`
		}{
			call.SessionID, call.RequestID, call.WorkloadToken,
			call.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Custom-Color"), call.Header.Get("Authorization"),
			call.Header.Get("Cookie"), call.Header.Get("X-Listed"),
		}, nil
	case "force":
		ask(agent.HealthyBusy)
	case "release":
		ask("")
	case "task":
		done := agent.Busy(ctx, "work")
		finish = done
	case "finish":
		finish()
	}
	return "done", nil
}

// finish ends the task of the last "task".
var finish func()

func stream(last error) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		if yield("hello", nil) && yield(map[string]any{"two": []int{2, 2}}, nil) && yield("data: x\n\n", nil) && yield(nil, nil) && last != nil {
			yield(nil, last)
		}
	}
}

// talk echoes until it hears "fail" or "bye".
func talk(ctx context.Context, conn *agent.Conn) error {
	for {
		typ, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		switch string(data) {
		case "fail":
			return errors.New("boom")
		case "bye":
			return nil
		}
		if err := conn.Write(ctx, typ, data); err != nil {
			return err
		}
	}
}
