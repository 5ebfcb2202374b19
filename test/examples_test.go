package test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/operator"
)

// TestExamples has each example do in a sandbox what its README says. Those of
// a kind answer alike in every language.
func TestExamples(t *testing.T) {
	need.Command(t, "python3")
	need.Command(t, "node")
	b := newBed(t, "gvisor")
	for _, example := range []struct {
		name  string
		check func(*testing.T, *bed, string)
	}{
		{"python-streaming", checkClients},
		{"python-context", checkContext},
		{"python-async", checkAsync},
		{"python-websocket", checkWebSocket},
		{"python-multimodal", checkMultimodal},
		{"python-a2a", checkA2A},
		{"python-mcp", checkMCP},
		{"go-streaming", checkStreaming},
		{"go-context", checkContext},
		{"go-async", checkAsync},
		{"typescript-streaming", checkStreaming},
		{"typescript-context", checkContext},
		{"typescript-multimodal", checkMultimodal},
	} {
		t.Run(example.name, func(t *testing.T) {
			arn := b.deploy("../examples/" + example.name)
			example.check(t, b, arn)
			if _, err := b.client.StopSessions(t.Context(), operator.SessionFilter{Agent: arn}); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkClients runs the programs in examples/clients.
func checkClients(t *testing.T, b *bed, arn string) {
	bin := t.TempDir()
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, filepath.Join(bin, "isolde")) // for runtime.py
	}
	if err != nil {
		t.Fatal(err)
	}
	sdks := clients(t)
	js := filepath.Dir(sdks[1].argv[1])
	copyFile(t, "../examples/clients/js_client.mjs", filepath.Join(js, "example.mjs")) // next to its node_modules
	env := append(os.Environ(), asIsolde+"=1", "ISOLDE_SERVER="+b.url, "AWS_ENDPOINT_URL="+b.url, "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE="+b.url,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any",
		"PATH="+bin+":"+os.Getenv("PATH"), sdks[0].env[0], "XDG_STATE_HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	for _, program := range []struct {
		want string
		argv []string
	}{
		{"2 * 5 is 10.\n", []string{"python3", "../examples/clients/boto3_client.py", arn, "2X5"}},
		{"2 * 5 is 10.\n", []string{"node", filepath.Join(js, "example.mjs"), arn, "2X5"}},
		{"2 * 5 is 10.\n", []string{"go", "run", "-C", "../examples/clients/go", ".", arn, "2X5"}},
		{`data: "10."`, []string{"sh", "../examples/clients/curl_client.sh", arn, "2X5"}},
		{"status: READY\n2 * 5 is 10.\n10 + 34 is 44.\n", []string{"python3", "../examples/clients/runtime.py", "../examples/python-streaming", "2X5"}},
	} {
		cmd := exec.CommandContext(t.Context(), program.argv[0], program.argv[1:]...)
		cmd.Env = env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), program.want) {
			t.Errorf("%v: %v\n%s%s", program.argv, err, out, &stderr)
		}
	}
}

// ask invokes an agent that answers with a text.
func (b *bed) ask(t *testing.T, arn string, session isolde.SessionID, payload string) string {
	t.Helper()
	resp, body := b.call(arn, session, strings.NewReader(payload))
	var text string
	if err := json.Unmarshal(body, &text); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	return text
}

func checkContext(t *testing.T, b *bed, arn string) {
	for _, turn := range []struct {
		session      int
		prompt, user string
		want         string
	}{
		{1, "what's the weather?", "1", "Hello Maira. It is sunny in your city."},
		{1, "2X5", "1", "Hello Maira. 2 * 5 is 10."},
		{1, "and that plus 34?", "1", "Hello Maira. 10 + 34 is 44."},
		{2, "And plus 10?", "3", "Hello Mark. I have no result to go on with"},
	} {
		payload, err := json.Marshal(map[string]string{"prompt": turn.prompt, "user_id": turn.user})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.ask(t, arn, sessionNumber(turn.session), string(payload)); !strings.HasPrefix(got, turn.want) {
			t.Errorf("session %d, %q → %q, want %q", turn.session, turn.prompt, got, turn.want)
		}
	}
}

func checkStreaming(t *testing.T, b *bed, arn string) {
	for prompt, want := range map[string]string{
		"2X5":                   `data: "2 "\n\ndata: "* "\n\ndata: "5 "\n\ndata: "is "\n\ndata: "10."\n\n`,
		"please break off here": `data: "then "\n\ndata: {"error":"the model broke off, as you asked"`,
	} {
		_, body := b.call(arn, sessionNumber(1), strings.NewReader(`{"prompt": "`+prompt+`"}`))
		got := strings.ReplaceAll(string(body), `"error": `, `"error":`) // the Go SDK frames JSON as Python does
		if want = strings.ReplaceAll(want, `\n`, "\n"); !strings.Contains(got, want) {
			t.Errorf("%s → %q, want … %q …", prompt, body, want)
		}
	}
}

func checkAsync(t *testing.T, b *bed, arn string) {
	if got := b.ask(t, arn, sessionNumber(1), `{"prompt": "Count the primes below 2,000,000"}`); !strings.HasPrefix(got, "I started") {
		t.Errorf("start → %q", got)
	}
	busy := func() bool {
		s, err := b.client.Session(t.Context(), arn, sessionNumber(1))
		if err != nil {
			t.Fatal(err)
		}
		return s.Busy
	}
	for !busy() && strings.HasPrefix(b.ask(t, arn, sessionNumber(1), `{"prompt": "How far are you?"}`), "Not done yet") {
		time.Sleep(100 * time.Millisecond)
	}
	if !busy() {
		t.Error("the session is not busy while the work runs")
	}
	for busy() {
		time.Sleep(100 * time.Millisecond)
	}
	if got := b.ask(t, arn, sessionNumber(1), `{"prompt": "Are you done?"}`); got != "There are 148933 primes below 2000000." {
		t.Errorf("result → %q", got)
	}
}

// checkMultimodal sends 99 MB, and gets what is in the workbook and the image.
func checkMultimodal(t *testing.T, b *bed, arn string) {
	payload, err := exec.Command("python3", "../examples/python-multimodal/sample.py", "99").Output()
	if err != nil || len(payload) < 98e6 {
		t.Fatalf("sample.py: %d bytes, %v", len(payload), err)
	}
	got := b.ask(t, arn, sessionNumber(1), string(payload))
	want := regexp.MustCompile(`^I got a xlsx document of \d+ bytes\. I got a jpeg image of \d+ bytes\. ` +
		`Sheet Sales has 4 rows of region, units \(sum 440\), price \(sum 40\.75\)\. ` +
		`The image is a PNG of 4000 x \d+ pixels, mostly rgb\(220, 40, 40\) \(75 %\), rgb\(40, 60, 200\) \(25 %\)\.$`)
	if !want.MatchString(got) {
		t.Errorf("got %q", got)
	}
}

func checkWebSocket(t *testing.T, b *bed, arn string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	type message struct{ Text, Tool, End string }
	connect := func() *websocket.Conn {
		url := "ws" + strings.TrimPrefix(b.url, "http") + "/runtimes/" + strings.ReplaceAll(arn, "/", "%2F") + "/ws"
		c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": {string(sessionNumber(1))}}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	read := func(c *websocket.Conn) (m message) {
		_, text, err := c.Read(ctx)
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// answer reads to the end of an answer.
	answer := func(c *websocket.Conn) (sum message) {
		for {
			m := read(c)
			sum = message{sum.Text + m.Text, sum.Tool + m.Tool, m.End}
			if m.End != "" {
				return sum
			}
		}
	}
	say := func(c *websocket.Conn, prompt string) {
		if err := c.Write(ctx, websocket.MessageText, []byte(`{"prompt": "`+prompt+`"}`)); err != nil {
			t.Fatal(err)
		}
	}
	c := connect()
	say(c, "2X5")
	if diff := cmp.Diff(message{"2 * 5 is 10.", "calculator", "complete"}, answer(c)); diff != "" {
		t.Error(diff)
	}
	say(c, "What can you do?")
	read(c) // it has begun
	say(c, "and that plus 34?")
	if got := answer(c); got.End != "interrupted" || strings.HasSuffix(got.Text, "everything else.") {
		t.Errorf("the first answer was %+v", got)
	}
	if got := answer(c); got.Text != "10 + 34 is 44." {
		t.Errorf("the second answer was %+v", got)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	c = connect() // the session remembers
	defer func() { _ = c.CloseNow() }()
	say(c, "and that minus 2")
	if got := answer(c); got.Text != "44 - 2 is 42." {
		t.Errorf("after another connection: %+v", got)
	}
}

func checkA2A(t *testing.T, b *bed, arn string) {
	send := func(text string) string {
		_, body := b.call(arn, sessionNumber(1), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":`+
			`{"messageId":"`+text+`","role":"user","contextId":"one","parts":[{"kind":"text","text":"`+text+`"}]}}}`))
		var task struct {
			Result struct {
				Artifacts []struct{ Parts []struct{ Text string } }
			}
		}
		if err := json.Unmarshal(body, &task); err != nil || len(task.Result.Artifacts) == 0 {
			t.Fatalf("%s → %s, %v", text, body, err)
		}
		var answer strings.Builder
		for _, part := range task.Result.Artifacts[0].Parts {
			answer.WriteString(part.Text)
		}
		return answer.String()
	}
	if got := send("2X5") + " " + send("and that plus 34?"); got != "2 * 5 is 10. 10 + 34 is 44." {
		t.Error(got)
	}
}

func checkMCP(t *testing.T, b *bed, arn string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	transport := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: b.invocations(arn), HTTPClient: transport}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	call := func(tool string, arguments map[string]any) any {
		r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
		if err != nil || r.IsError {
			t.Fatalf("%s: %v, %+v", tool, err, r)
		}
		return r.StructuredContent.(map[string]any)["result"]
	}
	call("take_note", map[string]any{"text": "milk"})
	got := []any{call("calculator", map[string]any{"expression": "2 * 5 + 34"}), call("take_note", map[string]any{"text": "bread"})}
	if diff := cmp.Diff([]any{"44", 2.0}, got); diff != "" {
		t.Error(diff)
	}
}

// TestExamplesShareFiles compares the files that are in several examples, each
// of which is deployed alone: a change to one belongs in all.
func TestExamplesShareFiles(t *testing.T) {
	own := []string{"agent.py", "test_agent.py", "agent.ts", "main.go", "main_test.go"}
	for _, pattern := range []string{"../examples/python-*/*.py", "../examples/typescript-*/*.ts", "../examples/go-*/*.go", "../examples/*-multimodal/*.py"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		first := make(map[string]string) // by name, the file that was found first
		for _, file := range files {
			name := filepath.Base(file)
			if slices.Contains(own, name) {
				continue
			}
			if first[name] == "" {
				first[name] = file
				continue
			}
			a, err1 := os.ReadFile(first[name])
			b, err2 := os.ReadFile(file)
			if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
				t.Errorf("%s and %s differ (%v, %v): cp the better one over the other", first[name], file, err1, err2)
			}
		}
	}
}
