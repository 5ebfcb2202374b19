package agent_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/png"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde/agent"
)

type Request struct {
	Prompt string `json:"prompt"`
}

type Answer struct {
	Text string `json:"text"`
}

// invoke calls an app as a runtime does and prints the answer.
func invoke(app http.Handler, payload string) {
	r := httptest.NewRequest(http.MethodPost, "/invocations", strings.NewReader(payload))
	r.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "session-1")
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
}

// quiet keeps the log out of the examples' output.
var quiet = slog.New(slog.DiscardHandler)

// An answer is a value, sent as JSON.
func ExampleHandle() {
	app := &agent.App{Logger: quiet, Handler: agent.Handle(func(ctx context.Context, in Request) (Answer, error) {
		if in.Prompt == "" {
			return Answer{}, agent.Errorf(http.StatusBadRequest, `the payload has no prompt; send {"prompt": "hello"}`)
		}
		return Answer{"You said " + in.Prompt}, nil
	})}
	invoke(app, `{"prompt": "hello"}`)
	invoke(app, `{}`)
	// Output:
	// 200 {"text": "You said hello"}
	// 400 {"error":"the payload has no prompt; send {\"prompt\": \"hello\"}"}
}

// A stream sends each value when it is yielded.
func ExampleHandleStream() {
	words := func(ctx context.Context, in Request) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for word := range strings.FieldsSeq(in.Prompt) {
				if !yield(word, nil) {
					return
				}
			}
			yield("", errors.New("the model is overloaded"))
		}
	}
	invoke(&agent.App{Logger: quiet, Handler: agent.HandleStream(words)}, `{"prompt": "to be"}`)
	// Output:
	// 200 data: "to"
	//
	// data: "be"
	//
	// data: {"error": "the model is overloaded", "error_type": "Error", "message": "An error occurred during streaming"}
}

// A Stream is handed something to send with, for libraries that call back.
func ExampleStream() {
	generate := func(prompt string, onToken func(string) error) error { return onToken(prompt + "!") }
	app := &agent.App{Logger: quiet, Handler: agent.Handle(func(ctx context.Context, in Request) (agent.Stream, error) {
		return func(ctx context.Context, out *agent.Events) error {
			return generate(in.Prompt, func(token string) error { return out.Send(token) })
		}, nil
	})}
	invoke(app, `{"prompt": "hello"}`)
	// Output:
	// 200 data: "hello!"
}

// What a variable holds is the session's: the process serves no other.
func ExampleFromContext() {
	var turn sync.Mutex
	var heard []string
	app := &agent.App{Logger: quiet, Handler: agent.Handle(func(ctx context.Context, in Request) (string, error) {
		turn.Lock()
		defer turn.Unlock()
		heard = append(heard, in.Prompt)
		return fmt.Sprintf("%s heard %q", agent.FromContext(ctx).SessionID, heard), nil
	})}
	invoke(app, `{"prompt": "one"}`)
	invoke(app, `{"prompt": "two"}`)
	// Output:
	// 200 "session-1 heard [\"one\"]"
	// 200 "session-1 heard [\"one\" \"two\"]"
}

// A handler is tested like any function.
func ExampleNewContext() {
	handler := func(ctx context.Context, in Request) (string, error) { return agent.FromContext(ctx).UserID, nil }
	ctx := agent.NewContext(context.Background(), agent.Call{UserID: "ann"})
	fmt.Println(handler(ctx, Request{}))
	// Output: ann <nil>
}

// A task goes on when its call has ended.
func ExampleGo() {
	finish := make(chan bool)
	app := &agent.App{Logger: quiet, Handler: agent.Handle(func(ctx context.Context, in Request) (string, error) {
		agent.Go(ctx, "report", func(ctx context.Context) error {
			<-finish
			return nil
		})
		return "I am on it", nil
	})}
	invoke(app, `{"prompt": "write the report"}`)
	fmt.Println(app.Status())
	close(finish)
	for app.Status() != agent.Healthy {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(app.Status())
	// Output:
	// 200 "I am on it"
	// HealthyBusy
	// Healthy
}

// A file in the payload is read like a file.
func ExampleBlob() {
	type Picture struct {
		Prompt string     `json:"prompt"`
		Image  agent.Blob `json:"image"`
	}
	app := &agent.App{Logger: quiet, Handler: agent.Handle(func(ctx context.Context, in Picture) (string, error) {
		config, format, err := image.DecodeConfig(in.Image.Reader())
		if err != nil {
			return "", agent.Errorf(http.StatusBadRequest, "read image: %w", err)
		}
		return fmt.Sprintf("%s, %d x %d", format, config.Width, config.Height), nil
	})}
	invoke(app, `{"prompt": "how large?", "image": "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAADklEQVR4nGNgQAX/oQAADTMC/kl0dQAAAAAASUVORK5CYII="}`)
	// Output: 200 "png, 3 x 2"
}

// Blobs go on to where they belong while the payload comes.
func ExampleDecodeBlobs() {
	type Upload struct {
		Files []struct {
			Name string     `json:"name"`
			Data agent.Blob `json:"data"`
		} `json:"files"`
	}
	app := &agent.App{Logger: quiet, Handler: func(ctx context.Context, r *http.Request) (any, error) {
		var in Upload
		err := agent.DecodeBlobs(r.Body, &in, func(place string, data io.Reader) error {
			fmt.Print(place, ": ")
			_, err := io.Copy(os.Stdout, data)
			return err
		})
		return len(in.Files), err
	}}
	invoke(app, `{"files": [{"name": "a.txt", "data": "aGVsbG8K"}]}`)
	// Output:
	// files[0].data: hello
	// 200 1
}

// An App has what an entry point alone has not.
func ExampleApp() {
	app := &agent.App{
		Handler: agent.Handle(func(ctx context.Context, in Request) (Answer, error) { return Answer{in.Prompt}, nil }),
		OnStart: func(ctx context.Context) error { return nil }, // open what the session needs
		WebSocket: func(ctx context.Context, conn *agent.Conn) error {
			for {
				var in Request
				if err := conn.ReadJSON(ctx, &in); err != nil {
					return err
				}
				if err := conn.WriteJSON(ctx, Answer{in.Prompt}); err != nil {
					return err
				}
			}
		},
	}
	fmt.Println(app.Status())
	// and then: app.Main()
	// Output: Healthy
}
