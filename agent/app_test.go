package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type prompt struct {
	Prompt string `json:"prompt"`
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// post invokes the app once.
func post(app *App, payload string, headers ...string) *httptest.ResponseRecorder {
	if app.Logger == nil {
		app.Logger = quiet
	}
	r := httptest.NewRequest(http.MethodPost, "/invocations", strings.NewReader(payload))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	return w
}

func returns(v any, err error) Handler {
	return Handle(func(context.Context, any) (any, error) { return v, err })
}

func yields(values ...any) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		for _, v := range values {
			err, failed := v.(error)
			if failed {
				v = nil
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	const stream = "text/event-stream; charset=utf-8"
	missing := fmt.Errorf("read notes: %w", &fs.PathError{Op: "open", Path: "notes", Err: fs.ErrNotExist})
	for name, c := range map[string]struct {
		handler     Handler
		status      int
		contentType string
		body        string
	}{
		"object":    {returns(map[string]any{"b": []int{1, 2}, "a": "x,y:z"}, nil), 200, "application/json", `{"a": "x,y:z", "b": [1, 2]}`},
		"text":      {returns("hé <b> & \u2028 \" \\ \n \x00\x7f", nil), 200, "application/json", "\"hé <b> & \u2028 \\\" \\\\ \\n \\u0000\x7f\""},
		"null":      {returns(nil, nil), 200, "application/json", `null`},
		"empty":     {returns(struct{}{}, nil), 200, "application/json", `{}`},
		"raw JSON":  {returns(json.RawMessage(`{"a":[ 1,2 ]}`), nil), 200, "application/json", `{"a": [1, 2]}`},
		"error":     {returns(nil, errors.New(`no "model" <x>`)), 500, "application/json", `{"error":"no \"model\" <x>"}`},
		"status":    {returns(nil, fmt.Errorf("find: %w", Errorf(404, "no user %d", 7))), 404, "application/json", `{"error":"no user 7"}`},
		"no status": {returns(nil, Errorf(42, "odd")), 500, "application/json", `{"error":"odd"}`},
		"no JSON":   {returns(func() {}, nil), 500, "application/json", `{"error":"encode answer: json: unsupported type: func()"}`},
		"panic":     {Handle(func(context.Context, any) (any, error) { panic("ouch") }), 500, "application/json", `{"error":"panic: ouch"}`},
		"nothing":   {nil, 500, "application/json", `{"error":"No entrypoint defined"}`},
		"own answer": {returns(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "teapot", http.StatusTeapot)
		}), nil), 418, "text/plain; charset=utf-8", "teapot\n"},
		"stream": {
			HandleStream(func(context.Context, any) iter.Seq2[any, error] { return yields("one", map[string]int{"two": 2}, nil) }),
			200, stream, "data: \"one\"\n\ndata: {\"two\": 2}\n\ndata: null\n\n",
		},
		"stream of nothing": {HandleStream(func(context.Context, any) iter.Seq2[any, error] { return yields() }), 200, stream, ""},
		"stream within a value": {
			Handle(func(context.Context, any) (any, error) { return Seq(yields(1)), nil }),
			200, stream, "data: 1\n\n",
		},
		"error in a stream": {
			HandleStream(func(context.Context, any) iter.Seq2[any, error] { return yields("one", missing, "two") }),
			200, stream, "data: \"one\"\n\ndata: {\"error\": \"read notes: open notes: file does not exist\", \"error_type\": \"PathError\", \"message\": \"An error occurred during streaming\"}\n\n",
		},
		"error at a stream's beginning": {
			HandleStream(func(context.Context, any) iter.Seq2[any, error] { return yields(errors.New("boom")) }),
			200, stream, "data: {\"error\": \"boom\", \"error_type\": \"Error\", \"message\": \"An error occurred during streaming\"}\n\n",
		},
		"panic in a stream": {
			HandleStream(func(context.Context, any) iter.Seq2[any, error] {
				return func(yield func(any, error) bool) { yield(1, nil); panic("ouch") }
			}),
			200, stream, "data: 1\n\ndata: {\"error\": \"panic: ouch\", \"error_type\": \"Panic\", \"message\": \"An error occurred during streaming\"}\n\n",
		},
		"written": {Handle(func(context.Context, any) (Stream, error) {
			return func(_ context.Context, out *Events) error {
				if err := out.Send(make(chan int)); err == nil {
					t.Error("a channel was sent")
				}
				return out.Send("one")
			}, nil
		}), 200, stream, "data: \"one\"\n\n"},
		"error before anything is written": {Handle(func(context.Context, any) (Stream, error) {
			return func(context.Context, *Events) error { return Errorf(503, "no model") }, nil
		}), 503, "application/json", `{"error":"no model"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(&App{Handler: c.handler}, `{"prompt": "hello"}`)
			if w.Code != c.status || w.Header().Get("Content-Type") != c.contentType || w.Body.String() != c.body {
				t.Errorf("got %d %s %s, want %d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body, c.status, c.contentType, c.body)
			}
		})
	}
}

func TestPayloads(t *testing.T) {
	app := &App{Handler: Handle(func(_ context.Context, in prompt) (string, error) { return in.Prompt, nil })}
	for payload, want := range map[string]string{
		`{"prompt": "hé", "more": 1}`: `200 "hé"`,
		`{"prompt": `:                 `400 {"error":"Invalid JSON","details":"unexpected end of JSON input"}`,
		``:                            `400 {"error":"Invalid JSON","details":"the payload is empty"}`,
		`{} {}`:                       `400 {"error":"Invalid JSON","details":"invalid character '{' after top-level value"}`,
		"\"\xff\"":                    `400 {"error":"Invalid encoding","details":"the payload is not UTF-8"}`,
		`{"prompt": 1}`:               `400 {"error":"Invalid request body format","details":"json: cannot unmarshal number into Go struct field prompt.prompt of type string"}`,
	} {
		w := post(app, payload)
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%q: %s, want %s", payload, got, want)
		}
	}
}

func TestCall(t *testing.T) {
	got := make(chan Call, 1)
	app := &App{Handler: Handle(func(ctx context.Context, _ any) (any, error) {
		go func() { got <- FromContext(ctx) }()
		return nil, nil
	})}
	post(app, `{}`,
		"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "s", "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id", "r",
		"X-Amzn-Bedrock-AgentCore-Runtime-User-Id", "u", "WorkloadAccessToken", "old", "X-Amz-Bedrock-AgentCore-Identity-WAT", "new",
		"OAuth2CallbackUrl", "http://back", "Authorization", "Bearer x", "X-Amzn-Bedrock-AgentCore-Runtime-Custom-A", "a",
		"X-Mine", "m", "Cookie", "c", "X-Amz-Date", "d", "Content-Type", "application/json")
	call := <-got
	want := Call{
		SessionID: "s", RequestID: "r", UserID: "u", WorkloadToken: "new", OAuth2CallbackURL: "http://back", app: app,
		Header: http.Header{
			"Authorization": {"Bearer x"}, "X-Amzn-Bedrock-Agentcore-Runtime-Custom-A": {"a"}, "X-Mine": {"m"},
			"Oauth2callbackurl": {"http://back"}, "Workloadaccesstoken": {"old"}, "X-Amz-Bedrock-Agentcore-Identity-Wat": {"new"},
		},
	}
	if !reflect.DeepEqual(call, want) {
		t.Errorf("got %+v, want %+v", call, want)
	}
	post(app, `{}`)
	if call := <-got; len(call.RequestID) != 36 || call.SessionID != "" {
		t.Errorf("a call without ids is %+v", call)
	}
	if call := FromContext(t.Context()); call.RequestID != "" {
		t.Errorf("no call is %+v", call)
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(NewLogHandler(&out, nil))
	ctx := NewContext(t.Context(), Call{SessionID: "s", RequestID: "r"})
	log.With("a", 1).WithGroup("g").WarnContext(ctx, "hello", "b", 2)
	log.Info("alone")
	app := &App{Logger: log, Handler: returns(nil, &Error{Status: 502, Message: "model is away", Err: errors.New("dial")})}
	post(app, `{}`, headerRequest, "q")
	post(&App{Logger: log, Handler: Handle(func(context.Context, any) (any, error) { panic("ouch") })}, `{}`)

	var lines []map[string]any
	for dec := json.NewDecoder(&out); ; {
		var line map[string]any
		err := dec.Decode(&line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", line["timestamp"].(string)); err != nil {
			t.Error(err)
		}
		delete(line, "timestamp")
		lines = append(lines, line)
	}
	want := []map[string]any{
		{"level": "WARNING", "message": "hello", "requestId": "r", "sessionId": "s", "a": 1.0, "g": map[string]any{"b": 2.0}},
		{"level": "INFO", "message": "alone"},
		{"level": "ERROR", "message": "invocation failed", "requestId": "q", "errorType": "Error", "errorMessage": "model is away", "cause": "dial"},
	}
	for i, w := range want {
		if !reflect.DeepEqual(lines[i], w) {
			t.Errorf("line %d is %v, want %v", i, lines[i], w)
		}
	}
	if last := lines[len(lines)-1]; last["errorType"] != "Panic" || !strings.Contains(fmt.Sprint(last["stackTrace"]), "app_test.go") {
		t.Errorf("the panic's line is %v", last)
	}
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now().Unix()
		ping := func(app *App, want Status, since int64) {
			t.Helper()
			app.Logger = quiet
			w := httptest.NewRecorder()
			app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ping", nil))
			if got, want := w.Body.String(), fmt.Sprintf(`{"status":%q,"time_of_last_update":%d}`, want, begin+since); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		app := &App{}
		ping(app, Healthy, 0)
		time.Sleep(time.Minute)
		ping(app, Healthy, 0)
		app.Handler = Handle(func(ctx context.Context, _ any) (any, error) {
			Go(ctx, "long", func(ctx context.Context) error {
				time.Sleep(time.Hour)
				return ctx.Err()
			})
			return FromContext(ctx).SessionID, nil
		})
		post(app, `{}`)
		ping(app, HealthyBusy, 60)
		time.Sleep(time.Minute)
		ping(app, HealthyBusy, 60)
		app.ForceStatus(Healthy)
		ping(app, Healthy, 120)
		app.ForceStatus("")
		ping(app, HealthyBusy, 120)
		time.Sleep(time.Hour)
		synctest.Wait()
		ping(app, Healthy, 62*60)

		custom := HealthyBusy
		begin = time.Now().Unix()
		mine := &App{Ping: func() Status {
			if custom == "panic" {
				panic(custom)
			}
			return custom
		}}
		ping(mine, HealthyBusy, 0)
		for _, custom = range []Status{"panic", "Sick", Healthy} {
			ping(mine, Healthy, 0)
		}
	})
}

// TestGo keeps a task's values and lets it outlive its call.
func TestGo(t *testing.T) {
	var out bytes.Buffer
	app := &App{Logger: slog.New(NewLogHandler(&out, nil))}
	step := make(chan string)
	app.Handler = Handle(func(ctx context.Context, _ any) (any, error) {
		Go(ctx, "report", func(ctx context.Context) error {
			<-step
			step <- FromContext(ctx).SessionID + fmt.Sprint(ctx.Err())
			<-ctx.Done()
			panic(context.Cause(ctx))
		})
		return nil, nil
	})
	server := httptest.NewServer(app)
	defer server.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/invocations", strings.NewReader("{}"))
	r.Header.Set(headerSession, "s")
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	step <- "the call has ended"
	if got := <-step; got != "s<nil>" {
		t.Errorf("the task saw %q", got)
	}
	app.stop(errStopping)
	if err := app.tasks.wait(t.Context()); err != nil {
		t.Error(err)
	}
	if app.Status() != Healthy || !strings.Contains(out.String(), `"message":"task failed","requestId"`) || !strings.Contains(out.String(), "the agent is stopping") {
		t.Errorf("status %s, log %s", app.Status(), &out)
	}
}

func TestRestore(t *testing.T) {
	calls := 0
	fail := errors.New("no credentials")
	app := &App{Handler: returns("ok", nil)}
	app.OnRestore = func(context.Context) error { calls++; return fail }
	if w := post(app, `{}`); w.Code != 500 || w.Body.String() != `{"error":"restore: no credentials"}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	fail = nil
	for range 3 {
		if w := post(app, `{}`); w.Code != 200 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	if calls != 2 {
		t.Errorf("OnRestore ran %d times, want once in vain and once", calls)
	}
	app.restore.gap -= 2 * frozen // as if the wall clock had run on alone
	post(app, `{}`)
	if calls != 3 {
		t.Error("OnRestore did not run after the process was frozen")
	}
}

// TestCallerGoesAway ends the stream of a caller who left.
func TestCallerGoesAway(t *testing.T) {
	ended := make(chan error, 1)
	app := &App{Logger: quiet, Handler: HandleStream(func(ctx context.Context, _ any) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for i := 0; yield(i, nil); i++ {
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
			}
			ended <- ctx.Err()
		}
	})}
	server := httptest.NewServer(app)
	defer server.Close()
	resp, err := http.Post(server.URL+"/invocations", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 20)); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the stream's context says %v", err)
	}
}

// TestRun drains calls, tasks and WebSockets when it is told to stop.
func TestRun(t *testing.T) {
	var order []string
	var stopped atomic.Bool
	inCall := make(chan struct{})
	app := &App{
		Host: "127.0.0.1", Port: freePort(t), Logger: quiet, Grace: time.Minute,
		OnStart: func(context.Context) error { order = append(order, "start"); return nil },
		OnStop:  func(context.Context) error { order = append(order, "stop"); return errors.New("unclean") },
	}
	app.Handler = Handle(func(ctx context.Context, _ any) (string, error) {
		Go(ctx, "task", func(ctx context.Context) error { <-ctx.Done(); stopped.Store(true); return nil })
		close(inCall)
		<-app.context().Done()
		return "answered", nil
	})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- app.Run(ctx) }()
	address := "http://" + app.address()
	for {
		if resp, err := http.Get(address + "/ping"); err == nil {
			resp.Body.Close()
			break
		}
	}
	answer := make(chan string)
	go func() {
		resp, err := http.Post(address+"/invocations", "", strings.NewReader("{}"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-inCall
	stop()
	if got := <-answer; got != `"answered"` {
		t.Errorf("the call under way got %s", got)
	}
	if err := <-ran; err == nil || err.Error() != "stop: unclean" {
		t.Errorf("Run returned %v", err)
	}
	if !reflect.DeepEqual(order, []string{"start", "stop"}) || !stopped.Load() {
		t.Errorf("hooks ran as %v, task stopped %t", order, stopped.Load())
	}
}

func TestRunFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	boom := errors.New("boom")
	app := &App{Logger: quiet, OnStart: func(context.Context) error { return boom }}
	if err := app.Run(t.Context()); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	app = &App{Logger: quiet, Host: "127.0.0.1", Port: taken.Addr().(*net.TCPAddr).Port}
	if err := app.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

// TestGraceEnds gives up on what does not end.
func TestGraceEnds(t *testing.T) {
	app := &App{Logger: quiet, Host: "127.0.0.1", Port: freePort(t), Grace: time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	done := Busy(NewContext(ctx, Call{app: app}), "stuck")
	defer done()
	app.OnStart = func(context.Context) error { stop(); return nil }
	if err := app.Run(ctx); err == nil || !strings.Contains(err.Error(), "end tasks: it still runs 1ms after") {
		t.Errorf("got %v", err)
	}
}

// freePort is one that nobody listens on, for the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestAnswerBreaksOff cuts the connection where a part of an answer is sent.
func TestAnswerBreaksOff(t *testing.T) {
	app := &App{Logger: quiet, Handler: returns(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("ouch")
	}), nil)}
	server := httptest.NewServer(app)
	defer server.Close()
	resp, err := http.Post(server.URL+"/invocations", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "half" {
		t.Errorf("got %q, %v; want a half answer", body, err)
	}
}
