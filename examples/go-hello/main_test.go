package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/agent"
)

// start serves an agent as a new session has it: nothing counted or noted.
func start(t *testing.T) *httptest.Server {
	t.Helper()
	a := &Agent{Notes: filepath.Join(t.TempDir(), "notes.txt")}
	server := httptest.NewServer(&agent.App{Handler: a.Invoke, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(server.Close)
	return server
}

func invoke(t *testing.T, server *httptest.Server, body, accept string) (status int, contentType, answer string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, server.URL+"/invocations", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "session-1")
	req.Header.Set("Accept", accept)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(data)
}

func TestStateIsTheSessions(t *testing.T) {
	server := start(t)
	invoke(t, server, `{"prompt": "note: milk"}`, "")
	invoke(t, server, `{"prompt": "note: bread"}`, "")
	_, _, body := invoke(t, server, `{"prompt": "hello"}`, "")
	var got Answer
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := Answer{
		Answer:  `You said "hello". This is call 3 of this session; notes: 2.`,
		Count:   3,
		Notes:   []string{"milk", "bread"},
		Session: "session-1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	_, _, body = invoke(t, start(t), `{"prompt": "hello"}`, "")
	if want := `"count": 1, "notes": []`; !strings.Contains(body, want) {
		t.Errorf("a new session answered %s, want %s in it", body, want)
	}
}

func TestStream(t *testing.T) {
	const want = `data: "You "` + "\n\n" + `data: "said "` + "\n\n"
	for name, c := range map[string]struct{ body, accept string }{
		"by payload": {`{"prompt": "hi", "stream": true}`, ""},
		"by header":  {`{"prompt": "hi"}`, "text/event-stream, application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			status, contentType, body := invoke(t, start(t), c.body, c.accept)
			if status != http.StatusOK || contentType != "text/event-stream; charset=utf-8" {
				t.Errorf("got %d %s, want 200 and an event stream", status, contentType)
			}
			if !strings.HasPrefix(body, want) || !strings.HasSuffix(body, "data: \"0.\"\n\n") {
				t.Errorf("got %q", body)
			}
		})
	}
}

func TestPayloadWinsOverHeader(t *testing.T) {
	_, contentType, body := invoke(t, start(t), `{"prompt": "hi", "stream": false}`, "text/event-stream")
	if contentType != "application/json" {
		t.Errorf("got %s %s, want application/json", contentType, body)
	}
}

func TestBadPayload(t *testing.T) {
	status, _, body := invoke(t, start(t), "hello", "")
	if status != http.StatusBadRequest || !strings.Contains(body, `{"error":"Invalid JSON"`) {
		t.Errorf("got %d %s", status, body)
	}
}
