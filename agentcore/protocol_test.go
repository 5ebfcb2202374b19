package agentcore_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/image"
)

// deploy deploys an agent runtime of a spec and returns its path.
func (b *bed) deploy(t *testing.T, name string, spec isolde.VersionSpec) string {
	t.Helper()
	spec.Entrypoint = []string{"agent"}
	if _, err := b.agents.Deploy(t.Context(), name, spec, strings.NewReader(strings.Repeat("\x00", 1024)), func(image.Progress) {}); err != nil {
		t.Fatal(err)
	}
	return "/runtimes/" + name + "/invocations"
}

// call posts a body with headers and reads the answer.
func (b *bed) call(t *testing.T, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return roundTrip(t, req)
}

// TestErrorsOfProtocols has each error in each protocol's own form.
func TestErrorsOfProtocols(t *testing.T) {
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ping" {
			return
		}
		status := 500
		if r.Header.Get("Accept") == "no/such" {
			status = 406
		} else if r.Header.Get("Mcp-Session-Id") != "" {
			status = 404
		}
		http.Error(w, "secret", status)
	})
	b := newBed(t, agent)
	paths := make(map[isolde.Protocol]string)
	for _, p := range []isolde.Protocol{isolde.ProtocolMCP, isolde.ProtocolA2A, isolde.ProtocolAGUI} {
		paths[p] = b.deploy(t, "agent_"+string(p), isolde.VersionSpec{Protocol: p, RequestHeaders: []string{"x-long"}})
	}
	const call = `{"method":"x","params":{"id":"no"},"jsonrpc":"2.0","id":7}`
	rpc := func(id any, code int) map[string]any { return map[string]any{"id": id, "code": float64(code)} }
	run := func(code string) map[string]any { return map[string]any{"type": "RUN_ERROR", "code": code} }
	for _, test := range []struct {
		name      string
		protocol  isolde.Protocol
		query     string
		body      string
		header    []string
		status    int
		exception string
		want      map[string]any
	}{
		{"agent's 500", isolde.ProtocolMCP, "", call, nil, 424, "RuntimeClientError", rpc(7.0, -32010)},
		{"text id", isolde.ProtocolMCP, "", `{"id":"a\u0062"}`, nil, 424, "RuntimeClientError", rpc("ab", -32010)},
		{"no id", isolde.ProtocolMCP, "", `[{"id":1}]`, nil, 424, "RuntimeClientError", rpc(nil, -32010)},
		{"session that the server does not know", isolde.ProtocolMCP, "", call, []string{"Mcp-Session-Id", "x"}, 404, "RuntimeClientError", rpc(7.0, -32004)},
		{"type that the server does not have", isolde.ProtocolMCP, "", call, []string{"Accept", "no/such"}, 406, "RuntimeClientError", rpc(7.0, -32011)},
		{"no endpoint", isolde.ProtocolMCP, "?qualifier=none", call, nil, 404, "ResourceNotFoundException", rpc(7.0, -32004)},
		{"short session", isolde.ProtocolMCP, "", call, []string{agentcore.HeaderSession, "x"}, 400, "ValidationException", rpc(7.0, -32006)},
		{"long header", isolde.ProtocolMCP, "", call, []string{"X-Long", strings.Repeat("a", 4097)}, 400, "ValidationException", rpc(7.0, -32006)},
		{"agent's 500", isolde.ProtocolA2A, "", call, nil, 424, "RuntimeClientError", rpc(7.0, -32055)},
		{"no endpoint", isolde.ProtocolA2A, "?qualifier=none", call, nil, 404, "ResourceNotFoundException", rpc(7.0, -32051)},
		{"short session", isolde.ProtocolA2A, "", call, []string{agentcore.HeaderSession, "x"}, 400, "ValidationException", rpc(7.0, -32052)},
		{"agent's 500", isolde.ProtocolAGUI, "", call, nil, 200, "RuntimeClientError", run("AGENT_ERROR")},
		{"no endpoint", isolde.ProtocolAGUI, "?qualifier=none", call, nil, 404, "ResourceNotFoundException", run("RESOURCE_NOT_FOUND")},
		{"short session", isolde.ProtocolAGUI, "", call, []string{agentcore.HeaderSession, "x"}, 400, "ValidationException", run("VALIDATION_ERROR")},
	} {
		t.Run(string(test.protocol)+"/"+test.name, func(t *testing.T) {
			a := b.call(t, paths[test.protocol]+test.query, test.body, test.header...)
			if got := a.header.Get("X-Amzn-ErrorType"); a.status != test.status || got != test.exception {
				t.Errorf("%d %s, want %d %s: %s", a.status, got, test.status, test.exception, a.body)
			}
			if strings.Contains(string(a.body), "secret") {
				t.Errorf("the agent's own error reaches the caller: %s", a.body)
			}
			if diff := cmp.Diff(test.want, errorCode(t, a)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	n := b.fake.Live()
	b.sessions.Drain(t.Context()) //nolint:errcheck // nothing runs
	if a := b.call(t, paths[isolde.ProtocolMCP], call); a.status != 200 || errorCode(t, a)["code"] != -32603.0 {
		t.Errorf("MCP, draining with %d: %d %s", n, a.status, a.body)
	}
	if a := b.call(t, paths[isolde.ProtocolAGUI], call); a.status != 500 || errorCode(t, a)["code"] != "INTERNAL_ERROR" {
		t.Errorf("AG-UI, draining: %d %s", a.status, a.body)
	}
}

// errorCode reads what clients of a protocol go by.
func errorCode(t *testing.T, a answer) map[string]any {
	t.Helper()
	text, event := strings.CutPrefix(string(a.body), "data: ")
	var e map[string]any
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	want := "application/json"
	if event {
		want = "text/event-stream"
	}
	if got := a.header.Get("Content-Type"); got != want || event && !strings.HasSuffix(text, "\n\n") {
		t.Errorf("type %q, body %q", got, a.body)
	}
	if event {
		if e["message"] == "" {
			t.Errorf("no message: %s", a.body)
		}
		delete(e, "message")
		return e
	}
	inner, _ := e["error"].(map[string]any)
	if e["jsonrpc"] != "2.0" || inner["message"] == "" {
		t.Errorf("not a JSON-RPC error: %s", a.body)
	}
	return map[string]any{"id": e["id"], "code": inner["code"]}
}

// TestMCPSessionIDs follows the one id that MCP clients know.
func TestMCPSessionIDs(t *testing.T) {
	server := "" // what the server gives; empty: it is stateless
	var got http.Header
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mcp" {
			http.NotFound(w, r) // an MCP server has no /ping
			return
		}
		got = r.Header
		if server != "" {
			w.Header().Set("Mcp-Session-Id", server)
		}
	}))
	path := b.deploy(t, "mcp", isolde.VersionSpec{Protocol: isolde.ProtocolMCP})
	const header = "Mcp-Session-Id"
	type seen struct{ Session, Server, Client string } // here, at the server, and what the client gets
	call := func(headers ...string) seen {
		t.Helper()
		a := b.call(t, path, "{}", headers...)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if s := a.header.Get(agentcore.HeaderSession); s != got.Get(agentcore.HeaderSession) {
			t.Errorf("session %s here, %s at the agent", s, got.Get(agentcore.HeaderSession))
		}
		return seen{a.header.Get(agentcore.HeaderSession), got.Get(header), a.header.Get(header)}
	}
	check := func(what string, got, want seen) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}

	first := call()
	id := first.Session
	check("stateless, first", first, seen{id, "", id})
	check("stateless, repeated", call(header, id), seen{id, id, id})
	check("another client", call(agentcore.HeaderSession, sessionID), seen{sessionID, "", sessionID})

	server = "abc.1"
	first = call()
	id = first.Session
	both := fmt.Sprintf("%d.%sabc.1", len(id), id)
	check("stateful, first", first, seen{id, "", both})
	check("stateful, repeated", call(header, both), seen{id, "abc.1", both})
	server = ""
	check("the server leaves it out", call(header, both), seen{id, "abc.1", both})
	server = "def"
	check("the server gives another", call(header, both), seen{id, "abc.1", fmt.Sprintf("%d.%sdef", len(id), id)})
	server = ""
	check("with a session of the caller's", call(header, both, agentcore.HeaderSession, sessionID), seen{sessionID, "abc.1", both})

	own := "my-own-id"
	first = call(header, own)
	check("the client's own, short", first, seen{first.Session, own, own})
	if again := call(header, own); again != first || len(first.Session) < 33 {
		t.Errorf("repeated: %+v, want %+v", again, first)
	}
	for _, odd := range []string{"5.short", "300." + id, "036." + id + "x", "36." + id, "-1.x", "."} {
		if s := call(header, odd); s.Server != odd || s.Client != odd {
			t.Errorf("id %q: %+v", odd, s)
		}
	}
	out, err := b.invoke(t, &bedrockagentcore.InvokeAgentRuntimeInput{AgentRuntimeArn: aws.String("mcp"), Payload: []byte("{}"), McpSessionId: aws.String(both)})
	if err != nil || aws.ToString(out.McpSessionId) != both {
		t.Errorf("AWS's SDK: %+v, %v", out, err)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if a := b.do(t, method, path, nil); a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
}

func TestAgentCard(t *testing.T) {
	card := `{"name":"a","version":1.10,"url":"http://127.0.0.1:9000/","preferredTransport":"JSONRPC","signatures":[{}],
		"additionalInterfaces":[{"url":"http://127.0.0.1:9000/","transport":"JSONRPC"},{"url":"x:1","transport":"GRPC"}],
		"supportedInterfaces":[{"url":"http://0.0.0.0:9000","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}`
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/agent-card.json" && r.Method == http.MethodGet {
			fmt.Fprint(w, card)
		}
	}))
	b.deploy(t, "a2a", isolde.VersionSpec{Protocol: isolde.ProtocolA2A})
	out, err := b.data.GetAgentCard(t.Context(), &bedrockagentcore.GetAgentCardInput{AgentRuntimeArn: aws.String("a2a"), RuntimeSessionId: aws.String(sessionID), Qualifier: aws.String("DEFAULT")})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.RuntimeSessionId) != sessionID || aws.ToInt32(out.StatusCode) != 200 {
		t.Errorf("%+v", out)
	}
	a := b.do(t, http.MethodGet, "/runtimes/a2a/invocations/.well-known/agent-card.json?qualifier=DEFAULT", nil)
	url := b.url + "/runtimes/a2a/invocations?qualifier=DEFAULT"
	want := map[string]any{
		"name": "a", "version": 1.10, "url": url, "preferredTransport": "JSONRPC",
		"additionalInterfaces": []any{map[string]any{"url": url, "transport": "JSONRPC"}, map[string]any{"url": "x:1", "transport": "GRPC"}},
		"supportedInterfaces":  []any{map[string]any{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}},
	}
	if diff := cmp.Diff(want, object(t, a.body)); diff != "" {
		t.Errorf("card (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(a.body), "1.10") {
		t.Errorf("a number was rewritten: %s", a.body)
	}
	card = "no card"
	if a := b.do(t, http.MethodGet, "/runtimes/a2a/invocations/.well-known/agent-card.json", nil); a.status != 424 {
		t.Errorf("no card: %d %s", a.status, a.body)
	}
	if a := b.do(t, http.MethodGet, "/runtimes/echo/invocations/.well-known/agent-card.json", nil); a.status != 400 || !strings.Contains(string(a.body), "only A2A agents") {
		t.Errorf("HTTP agent: %d %s", a.status, a.body)
	}
}

// TestRequestHeaderAllowlist passes the headers that a version names.
func TestRequestHeaderAllowlist(t *testing.T) {
	var got http.Header
	b := newBed(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	spec := isolde.VersionSpec{RequestHeaders: []string{"x-tenant", "Authorization"}}
	path := b.deploy(t, "listed", spec)
	headers := []string{"X-TENANT", "t1", "Authorization", "Bearer x", "X-Other", "o", "A2A-Version", "1.0", "Mcp-Session-Id", "s"}
	b.call(t, path, "{}", headers...)
	if got.Get("X-Tenant") != "t1" || got.Get("Authorization") != "" || got.Get("X-Other") != "" || got.Get("A2a-Version") != "" || got.Get("Mcp-Session-Id") != "s" {
		t.Errorf("agent got %v", got)
	}
	b.call(t, b.deploy(t, "a2a", isolde.VersionSpec{Protocol: isolde.ProtocolA2A}), "{}", headers...)
	if got.Get("A2a-Version") != "1.0" || got.Get("X-Tenant") != "" {
		t.Errorf("A2A agent got %v", got)
	}
	if a := b.call(t, path, "{}", "X-Tenant", strings.Repeat("x", 4097)); a.status != 400 || !strings.Contains(string(a.body), `"name":"X-Tenant"`) {
		t.Errorf("long value: %d %s", a.status, a.body)
	}
	if a := b.call(t, path, "{}", "X-Tenant", strings.Repeat("x", 4096)); a.status != 200 {
		t.Errorf("longest value: %d %s", a.status, a.body)
	}
}

// TestContentDefaults can be switched off.
func TestContentDefaults(t *testing.T) {
	var got http.Header
	b := newBed(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	mcp := b.deploy(t, "mcp", isolde.VersionSpec{Protocol: isolde.ProtocolMCP})
	check := func(what, contentType, accept string) {
		t.Helper()
		if got.Get("Content-Type") != contentType || got.Get("Accept") != accept {
			t.Errorf("%s: Content-Type %q, Accept %q", what, got.Get("Content-Type"), got.Get("Accept"))
		}
	}
	b.call(t, mcp, "{}", "Accept", "*/*")
	check("MCP", "application/json", "application/json, text/event-stream")
	b.call(t, mcp, "{}", "Accept", "application/json")
	check("MCP, said", "application/json", "application/json")
	b.noDefaults = true
	b.serve(t)
	b.call(t, mcp, "{}", "Accept", "*/*")
	check("MCP, without defaults", "", "*/*")
	b.call(t, "/runtimes/echo/invocations", "{}", "Content-Type", "application/octet-stream")
	check("HTTP, without defaults", "application/octet-stream", "")
}
