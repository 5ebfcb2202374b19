package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/isolde-run/isolde/internal/need"
)

var update = flag.Bool("update", false, "write the golden files anew")

const conformanceAnswers = "conformance/answers.txtar"

// question is one request of the suite.
type question struct {
	name    string
	method  string // POST if empty
	path    string // /invocations if empty
	payload string // {"case": name} if empty
	headers string // besides session id, Content-Type and Accept; "-Name" leaves one out
}

var questions = []question{
	{name: "object"},
	{name: "text"},
	{name: "null"},
	{name: "echo", payload: `{"case": "echo", "n": 10000000000, "f": 1e-7, "é": {"b": 1, "a": [ ]}}`},
	{name: "bytes"},
	{name: "unserializable"},
	{name: "error"},
	{name: "status"},
	{name: "response"},
	{name: "stream"},
	{name: "stream without Accept", payload: `{"case": "stream"}`, headers: "-Accept"},
	{name: "stream that fails"},
	{name: "stream that fails at once"},
	{name: "empty stream"},
	{name: "context", headers: "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id: r-1\nWorkloadAccessToken: old\nX-Amz-Bedrock-AgentCore-Identity-WAT: new\n" +
		"X-Amzn-Bedrock-AgentCore-Runtime-Custom-Color: blue\nAuthorization: Bearer x\nCookie: c=1\nX-Listed: yes"},
	{name: "no session id", payload: `{}`, headers: "-X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"},
	{name: "no Content-Type", payload: `{}`, headers: "-Content-Type"},
	{name: "octet-stream", payload: `{}`, headers: "Content-Type: application/octet-stream"},
	{name: "empty payload", payload: " "},
	{name: "broken JSON", payload: `{"case": `},
	{name: "two values", payload: `{} {}`},
	{name: "broken UTF-8", payload: "{\"case\": \"\xff\"}"},
	{name: "a list", payload: `[1, 2]`},
	{name: "2 MB", payload: `{"case": "` + strings.Repeat("x", 2e6) + `"}`},
	{name: "ping", method: "GET", path: "/ping"},
	{name: "task"},
	{name: "ping with a task", method: "GET", path: "/ping"},
	{name: "finish"},
	{name: "ping after it", method: "GET", path: "/ping"},
	{name: "force"},
	{name: "ping when forced", method: "GET", path: "/ping"},
	{name: "release"},
	{name: "GET", method: "GET"},
	{name: "POST ping", path: "/ping"},
	{name: "another path", path: "/nowhere"},
	{name: "ws without upgrade", method: "GET", path: "/ws"},
}

// talks are the conversations over a WebSocket: what is sent, until the
// connection ends.
var talks = map[string][]string{
	"websocket echo": {"text hé", "binary \x00\xff", "text " + strings.Repeat("x", 70_000), "close"},
	"websocket bye":  {"text bye"},
	"websocket fail": {"text fail"},
}

// TestConformance asks agents on three SDKs the same; see conformance/README.md.
func TestConformance(t *testing.T) {
	sdks := conformanceAgents(t)
	var got []byte
	ask := func(name string, ask func(url string) string) {
		var answers []string // of the SDKs, in order
		for _, sdk := range sdks {
			answers = append(answers, ask(sdk.url))
		}
		for i, sdk := range sdks {
			names := []string{sdk.name}
			for j := i + 1; j < len(sdks); j++ {
				if answers[j] == answers[i] {
					names = append(names, sdks[j].name)
				}
			}
			first := true
			for j := range i {
				first = first && answers[j] != answers[i]
			}
			if first {
				got = fmt.Appendf(got, "-- %s: %s --\n%s", name, strings.Join(names, ", "), answers[i])
			}
		}
	}
	for _, q := range questions {
		ask(q.name, func(url string) string { return q.ask(t, url) })
	}
	for _, name := range []string{"websocket echo", "websocket bye", "websocket fail"} {
		ask(name, func(url string) string { return talk(t, url, talks[name]) })
	}

	if *update {
		if err := os.WriteFile(conformanceAnswers, append([]byte("Written by go test ./test -run TestConformance -update.\n"), got...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := txtar.ParseFile(conformanceAnswers)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sections(golden), sections(txtar.Parse(got))); diff != "" {
		t.Errorf("the SDKs answered otherwise (-golden +got):\n%s", diff)
	}
}

func sections(a *txtar.Archive) map[string]string {
	m := make(map[string]string)
	for _, f := range a.Files {
		m[f.Name] = string(f.Data)
	}
	return m
}

type conformanceAgent struct{ name, url string }

// conformanceAgents starts one on each SDK, until the test ends.
func conformanceAgents(t *testing.T) []conformanceAgent {
	t.Helper()
	python, node, goTool := need.Command(t, "python3"), need.Command(t, "node"), need.Command(t, "go")
	requirements := "agents/websocket/requirements.txt"
	packages := installed(t, "conformance-python", requirements, func(dir string) *exec.Cmd {
		if uv, err := exec.LookPath("uv"); err == nil {
			return exec.Command(uv, "pip", "install", "--quiet", "--target", dir, "-r", requirements)
		}
		return exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir, "-r", requirements)
	})
	example := "../examples/typescript-streaming"
	js := installed(t, "conformance-js", filepath.Join(example, "package-lock.json"), func(dir string) *exec.Cmd {
		for _, f := range []string{"package.json", "package-lock.json"} {
			copyFile(t, filepath.Join(example, f), filepath.Join(dir, f))
		}
		cmd := exec.Command("npm", "ci", "--omit=dev", "--silent", "--no-audit", "--no-fund")
		cmd.Dir = dir
		return cmd
	})
	copyFile(t, "conformance/agent.mjs", filepath.Join(js, "agent.mjs")) // next to its node_modules
	program := filepath.Join(t.TempDir(), "agent")
	build := exec.Command(goTool, "build", "-C", "../agent", "-o", program, "./internal/conformance")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	return []conformanceAgent{
		{"python", startAgent(t, exec.Command(python, "conformance/agent.py"), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1")},
		{"typescript", startAgent(t, exec.Command(node, filepath.Join(js, "agent.mjs")))},
		{"go", startAgent(t, exec.Command(program))},
	}
}

// startAgent runs an agent on a port of its own until the test ends, and
// returns its address when it answers.
func startAgent(t *testing.T, cmd *exec.Cmd, env ...string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd.Env = append(append(os.Environ(), env...), "PORT="+port)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its state says how
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, log.String())
		}
	})
	for {
		resp, err := http.Get("http://" + address + "/ping")
		if err == nil {
			resp.Body.Close()
			return "http://" + address
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s\n%s", cmd, cmd.ProcessState, log.String())
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var lastUpdate = regexp.MustCompile(`"time_of_last_update":\d+`)

// ask returns the answer as it stands in the golden file: a line of status and
// content type, and the body's lines quoted.
func (q question) ask(t *testing.T, url string) string {
	t.Helper()
	method, path, payload := q.method, q.path, q.payload
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/invocations"
	}
	if payload == "" {
		payload = `{"case": ` + strconv.Quote(q.name) + `}`
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodGet {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "s-1")
	for line := range strings.Lines(q.headers) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if name, without := strings.CutPrefix(name, "-"); without {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Sprintf("no answer: %v\n", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = fmt.Append(body, err)
	}
	body = lastUpdate.ReplaceAll(body, []byte(`"time_of_last_update":0`))
	out := fmt.Sprintln(resp.StatusCode, resp.Header.Get("Content-Type"))
	for line := range strings.Lines(string(body)) {
		out += quoted(line) + "\n"
	}
	return out
}

// quoted shortens what is long.
func quoted(s string) string {
	if len(s) > 300 {
		s = fmt.Sprintf("%.20s… %d bytes", s, len(s))
	}
	return strconv.Quote(s)
}

// talk sends messages and returns what came back, up to the end.
func talk(t *testing.T, url string, messages []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {"s-1"}},
	})
	if err != nil {
		return fmt.Sprintf("no connection: %v\n", err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	var out string
	for _, m := range messages {
		kind, data, _ := strings.Cut(m, " ")
		typ := websocket.MessageText
		if kind == "binary" {
			typ = websocket.MessageBinary
		}
		if kind == "close" {
			return out + fmt.Sprintf("closed by the client: %v\n", conn.Close(websocket.StatusNormalClosure, "bye"))
		}
		if err := conn.Write(ctx, typ, []byte(data)); err != nil {
			return out + fmt.Sprintf("cannot write: %v\n", err)
		}
		got, answer, err := conn.Read(ctx)
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			return out + fmt.Sprintf("closed: %d %q\n", closed.Code, closed.Reason)
		}
		if err != nil {
			return out + fmt.Sprintf("cannot read: %v\n", err)
		}
		out += fmt.Sprintf("%d %s\n", got, quoted(string(answer)))
	}
	return out
}
