package agentcore_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore/types"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
)

func inSession(id string) http.Header {
	return http.Header{"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {strings.Repeat(id, 40)}, "Content-Type": {"application/json"}}
}

func TestLimitsHaveTheirErrors(t *testing.T) {
	b := newBed(t, nil)
	for _, test := range []struct {
		limits    isolde.Limits
		status    int
		exception string
		again     string // Retry-After
		message   string
	}{
		{isolde.Limits{Sessions: 1}, 402, "ServiceQuotaExceededException", "", "the most it may have"},
		{isolde.Limits{NewSessionsPerSecond: 0.01}, 429, "ThrottlingException", "70", "0.01 new sessions per second"}, // 100 s, of which it would wait 30
		{isolde.Limits{RequestsPerSecond: 0.01}, 429, "ThrottlingException", "100", "0.01 requests per second"},
	} {
		t.Run(test.message, func(t *testing.T) {
			path := b.deploy(t, "limited", isolde.VersionSpec{Limits: test.limits})
			if resp := b.post(t, path, inSession("a"), strings.NewReader("{}")); resp.StatusCode != 200 {
				t.Fatalf("within the limit: %s", resp.Status)
			}
			resp := b.post(t, path, inSession("b"), strings.NewReader("{}"))
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || resp.Header.Get("X-Amzn-ErrorType") != test.exception ||
				resp.Header.Get("Retry-After") != test.again || !strings.Contains(string(body), test.message) {
				t.Errorf("%s, %s, Retry-After %q: %s", resp.Status, resp.Header.Get("X-Amzn-ErrorType"), resp.Header.Get("Retry-After"), body)
			}
			b.fake.StopAll() // the next version's sessions are new ones
			for len(b.sessions.Sessions()) > 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// WebSockets to agents and to shells count together, each from before its
// session starts to its end, however that comes.
func TestOpenWebSocketsAreBounded(t *testing.T) {
	b := newBed(t, nil, func(c *session.Config) { c.MaxConnections, c.MaxSessionConnections = 3, 2 })
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script {
		return sandboxtest.Script{Agent: socketAgent(t), Exec: sandboxtest.Shell}
	}
	session := func(id string) *websocket.DialOptions { return &websocket.DialOptions{HTTPHeader: inSession(id)} }
	const agent, shell = "/runtimes/echo/ws", "/runtimes/echo/ws/shells"
	refused := func(path, id, why string) {
		t.Helper()
		c, resp, err := websocket.Dial(t.Context(), b.url+path, session(id))
		if err == nil {
			_ = c.CloseNow()
			t.Fatalf("%s of %s is open beyond the limit", path, id)
		}
		body, _ := io.ReadAll(resp.Body) // which the library keeps
		if resp.StatusCode != 429 || resp.Header.Get("X-Amzn-ErrorType") != "ThrottlingException" || resp.Header.Get("Retry-After") != "5" || !strings.Contains(string(body), why) {
			t.Errorf("%s of %s: %s %v: %s", path, id, resp.Status, resp.Header, body)
		}
	}
	first, _, _ := b.connect(t, agent, session("a"))
	second, _, _ := b.connect(t, shell, session("a"))
	refused(agent, "a", "2 WebSockets to session aaa")
	refused(shell, "a", "2 WebSockets to session aaa")
	b.connect(t, agent, session("b"))
	refused(agent, "c", "3 WebSockets are open, the most this server allows")
	if n := len(b.sessions.Sessions()); n != 2 {
		t.Errorf("%d sessions run; a connection beyond the limit must start none", n)
	}
	if resp := b.post(t, "/runtimes/echo/commands", inSession("a"), strings.NewReader(`{"command":"true"}`)); resp.StatusCode != 200 {
		t.Errorf("a command at the limit of WebSockets: %s", resp.Status)
	}

	for _, c := range []*websocket.Conn{first, second} {
		_ = c.CloseNow()
	}
	for room := 0; room < 2; { // the server sees it a moment later
		c, resp, err := websocket.Dial(t.Context(), b.url+shell, session("a"))
		switch {
		case err == nil:
			room++
			t.Cleanup(func() { _ = c.CloseNow() })
		case resp == nil || resp.StatusCode != 429:
			t.Fatal(err)
		}
	}
	refused(agent, "a", "the most")
}

// A connection that comes to nothing leaves its room.
func TestWebSocketsThatFailLeaveTheirRoom(t *testing.T) {
	b := newBed(t, http.NotFoundHandler(), func(c *session.Config) { c.MaxConnections, c.MaxSessionConnections = 1, 1 })
	for _, path := range []string{"/runtimes/echo/ws", "/runtimes/echo/ws", "/runtimes/echo/ws/shells", "/runtimes/echo/ws/shells"} {
		c, resp, err := websocket.Dial(t.Context(), b.url+path, &websocket.DialOptions{HTTPHeader: inSession("a")})
		if err == nil {
			_ = c.CloseNow()
		}
		if resp == nil || resp.StatusCode == 429 || resp.StatusCode == 101 {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
}

// The API's exceptions reach callers of the AWS SDK as the types they are
// there; the SDK itself tries again after a ThrottlingException.
func TestLimitsInTheSDK(t *testing.T) {
	b := newBed(t, nil)
	b.deploy(t, "limited", isolde.VersionSpec{Limits: isolde.Limits{Sessions: 1, RequestsPerSecond: 2}})
	in := func(session string) *bedrockagentcore.InvokeAgentRuntimeInput {
		return &bedrockagentcore.InvokeAgentRuntimeInput{
			AgentRuntimeArn: aws.String("limited"), AccountId: aws.String("123456789012"), RuntimeSessionId: aws.String(strings.Repeat(session, 40)), Payload: []byte("{}"),
		}
	}
	for range 3 { // at two a second, the third after a further try
		out, err := b.data.InvokeAgentRuntime(t.Context(), in("a"))
		if err != nil {
			t.Fatal(err)
		}
		out.Response.Close()
	}
	var quota *types.ServiceQuotaExceededException
	for !errors.As(invocation(b.data.InvokeAgentRuntime(t.Context(), in("b"))), &quota) {
		t.Log("throttled")
	}
}

func invocation(_ *bedrockagentcore.InvokeAgentRuntimeOutput, err error) error { return err }

// A2A and AG-UI agents have forms of their own for it, but the same headers.
func TestRetryAfterInEveryProtocol(t *testing.T) {
	b := newBed(t, nil)
	for _, p := range []isolde.Protocol{isolde.ProtocolMCP, isolde.ProtocolA2A, isolde.ProtocolAGUI} {
		path := b.deploy(t, "of_"+string(p), isolde.VersionSpec{Protocol: p, Limits: isolde.Limits{RequestsPerSecond: 0.01}})
		b.post(t, path, inSession("a"), strings.NewReader(`{"id":1}`))
		if resp := b.post(t, path, inSession("a"), strings.NewReader(`{"id":2}`)); resp.Header.Get("Retry-After") != "100" || resp.Header.Get("X-Amzn-ErrorType") != "ThrottlingException" {
			t.Errorf("%s: %s, %v", p, resp.Status, resp.Header)
		}
	}
}

func TestAgentErrorsAreShownWhereTheOperatorAllowsIt(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"the detail"}`+"\xff"+strings.Repeat("x", 1<<20), http.StatusInternalServerError)
	}))
	b.exposeErrors = true
	b.serve(t)
	for _, path := range []string{"/runtimes/echo/invocations", "/runtimes/" + b.arn + "/invocations"} {
		resp := b.post(t, path, nil, strings.NewReader("{}"))
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 424 || len(body) > 8192 || !strings.Contains(string(body), `Received error (500) from runtime: {\"error\":\"the detail\"}xxx`) {
			t.Errorf("%s: %d bytes, %v: %.200s", resp.Status, len(body), err, body)
		}
	}
}

// AWS allows chunks of 10 MB in a streamed answer. Here an event may be as long
// as it likes, and takes no memory of the server's for it.
func TestLongChunksPass(t *testing.T) {
	const chunk = 10_000_000
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = w.Write([]byte("data: " + strings.Repeat(string(rune('a'+i)), chunk) + "\n\n"))
			_ = http.NewResponseController(w).Flush()
		}
	}))
	resp := b.post(t, "/runtimes/echo/invocations", nil, strings.NewReader("{}"))
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	events := bytes.Split(bytes.TrimSuffix(body, []byte("\n\n")), []byte("\n\n"))
	if len(events) != 3 {
		t.Fatalf("%d events", len(events))
	}
	for i, e := range events {
		if want := "data: " + strings.Repeat(string(rune('a'+i)), chunk); string(e) != want {
			t.Errorf("event %d: %d bytes that differ", i, len(e))
		}
	}
}
