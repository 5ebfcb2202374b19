package agentcore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
)

// socketAgent takes WebSockets at /ws: it first says which headers it got,
// then echoes. "exit" has it break off, "close" has it close with 4000.
func socketAgent(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(1 << 20)
		if err := c.Write(r.Context(), websocket.MessageText, fmt.Append(nil, r.URL.Path, " ", r.Header)); err != nil {
			return
		}
		for {
			kind, b, err := c.Read(r.Context())
			switch {
			case err != nil:
				return
			case string(b) == "exit":
				return
			case string(b) == "close":
				_ = c.Close(4000, "as you say")
				return
			}
			if c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	})
	return mux
}

// connect opens a WebSocket and reads what the agent says of its headers.
func (b *bed) connect(t *testing.T, path string, o *websocket.DialOptions) (c *websocket.Conn, resp *http.Response, hello string) {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(b.url, "http")+path, o)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c, resp, read(t, c)
}

func read(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, got, err := c.Read(ctx)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(got)
}

func write(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func wantClose(t *testing.T, c *websocket.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, _, err := c.Read(ctx)
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != code || !strings.Contains(err.Error(), reason) {
			t.Errorf("ended with %v, want status %d …%s…", err, code, reason)
		}
		return
	}
}

func TestWebSocketBothWays(t *testing.T) {
	b := newBed(t, socketAgent(t))
	for name, path := range map[string]string{
		"escaped ARN": "/runtimes/" + url.PathEscape(b.arn) + "/ws?qualifier=DEFAULT",
		"raw ARN":     "/runtimes/" + b.arn + "/ws",
	} {
		t.Run(name, func(t *testing.T) {
			c, resp, hello := b.connect(t, path, &websocket.DialOptions{HTTPHeader: http.Header{
				agentcore.HeaderSession: {sessionID}, "Cookie": {"secret"}, "X-Amzn-Bedrock-Agentcore-Runtime-Custom-Tenant": {"t1"},
			}})
			if got := resp.Header.Get(agentcore.HeaderSession); got != sessionID {
				t.Errorf("session %q", got)
			}
			for _, want := range []string{"/ws ", sessionID, "Custom-Tenant:[t1]", "Runtime-Request-Id:[" + resp.Header.Get(agentcore.HeaderRequestID)} {
				if !strings.Contains(hello, want) {
					t.Errorf("the agent got %s; no %s", hello, want)
				}
			}
			if strings.Contains(hello, "secret") {
				t.Errorf("the agent got the cookie: %s", hello)
			}
			large := strings.Repeat("x", 64<<10)
			for _, text := range []string{"hi", "", large} {
				if write(t, c, text); read(t, c) != text {
					t.Errorf("%d bytes came back otherwise", len(text))
				}
			}
			ctx := c.CloseRead(t.Context())
			if err := c.Ping(ctx); err != nil {
				t.Errorf("ping: %v", err)
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("close: %v", err)
			}
			b.awaitInFlight(t, 0)
		})
	}
}

func TestWebSocketTakesHeadersFromTheQuery(t *testing.T) {
	b := newBed(t, socketAgent(t))
	_, resp, hello := b.connect(t, "/runtimes/echo/ws?X-Amzn-Bedrock-AgentCore-Runtime-Session-Id="+sessionID+
		"&X-Amzn-Bedrock-AgentCore-Runtime-Custom-Tenant=t%201&X-Other=no", nil)
	if resp.Header.Get(agentcore.HeaderSession) != sessionID || !strings.Contains(hello, sessionID) || !strings.Contains(hello, "Custom-Tenant:[t 1]") || strings.Contains(hello, "Other") {
		t.Errorf("session %q, the agent got %s", resp.Header.Get(agentcore.HeaderSession), hello)
	}
	_, resp, hello = b.connect(t, "/runtimes/echo/ws", nil)
	if id := resp.Header.Get(agentcore.HeaderSession); id == "" || id == sessionID || !strings.Contains(hello, id) {
		t.Errorf("a fresh session is %q; the agent got %s", id, hello)
	}
}

func TestWebSocketOfABrowser(t *testing.T) {
	b := newBed(t, socketAgent(t))
	_, resp, hello := b.connect(t, "/runtimes/echo/ws", &websocket.DialOptions{
		Subprotocols: []string{"base64UrlBearerAuthorization.c2VjcmV0", "base64UrlBearerAuthorization"},
	})
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "base64UrlBearerAuthorization" || strings.Contains(hello, "c2VjcmV0") {
		t.Errorf("protocol %q; the agent got %s", got, hello)
	}
}

func TestErrorsBeforeTheWebSocket(t *testing.T) {
	b := newBed(t, http.NotFoundHandler())
	handshake := http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for _, test := range []struct {
		name, path, drop string
		status           int
		exception        string
		message          string
	}{
		{"no upgrade", "/runtimes/echo/ws", "Upgrade", 400, "ValidationException", "Upgrade: websocket"},
		{"no connection", "/runtimes/echo/ws", "Connection", 400, "ValidationException", "Upgrade: websocket"},
		{"no key", "/runtimes/echo/ws", "Sec-Websocket-Key", 400, "ValidationException", "Sec-WebSocket-Key"},
		{"no version", "/runtimes/echo/ws", "Sec-Websocket-Version", 400, "ValidationException", "13"},
		{"short session id", "/runtimes/echo/ws?x-amzn-bedrock-agentcore-runtime-session-id=short", "", 400, "ValidationException", "has 5 characters"},
		{"a header that is none", "/runtimes/echo/ws?X-Amzn-Bedrock-AgentCore-Runtime-Custom-A=1%0D%0AB:2", "", 400, "ValidationException", "no header may have"},
		{"a header's name that is none", "/runtimes/echo/ws?X-Amzn-Bedrock-Agentcore-Runtime-Custom-A:%20=1", "", 400, "ValidationException", "no header may have"},
		{"unknown runtime", "/runtimes/other-0123456789/ws", "", 404, "ResourceNotFoundException", "other"},
		{"unknown endpoint", "/runtimes/echo/ws?qualifier=prod", "", 404, "ResourceNotFoundException", "prod"},
		{"agent without", "/runtimes/echo/ws", "", 424, "RuntimeClientError", "Received error (404) from runtime."},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = handshake.Clone()
			req.Header.Del(test.drop)
			a := roundTrip(t, req)
			if a.status != test.status || a.header.Get("X-Amzn-ErrorType") != test.exception || !strings.Contains(string(a.body), test.message) {
				t.Errorf("%d %s %s", a.status, a.header, a.body)
			}
		})
	}
	b.awaitInFlight(t, 0)
}

// What an agent may answer to the handshake, and not.
func TestAgentsThatAnswerTheHandshakeBadly(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":           "",
		"another key's":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
		"a header forever":  "HTTP/1.1 101 Switching Protocols\r\nA: " + strings.Repeat("x", 1<<20),
		"no HTTP":           "hello\r\n\r\n",
		"a body that hangs": "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nsecret",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, answer)
				c.Close()
			}))
			_, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(b.url, "http")+"/runtimes/echo/ws", nil)
			if err == nil || resp == nil || resp.StatusCode != 424 {
				t.Fatalf("%v, %+v", err, resp)
			}
			body, _ := io.ReadAll(resp.Body)
			if strings.Contains(string(body), "secret") {
				t.Errorf("the caller got the agent's own error: %s", body)
			}
			if e := b.sessions.Sessions()[0].LastError; e == nil {
				t.Error("nothing is kept for the owner")
			}
		})
	}
}

func TestWebSocketCloses(t *testing.T) {
	open := func(t *testing.T) (*bed, *websocket.Conn) {
		b := newBed(t, socketAgent(t))
		c, _, _ := b.connect(t, "/runtimes/echo/ws", &websocket.DialOptions{HTTPHeader: http.Header{agentcore.HeaderSession: {sessionID}}})
		b.awaitInFlight(t, 1)
		return b, c
	}
	t.Run("by the agent", func(t *testing.T) {
		_, c := open(t)
		write(t, c, "close")
		wantClose(t, c, 4000, "as you say")
	})
	t.Run("agent breaks off", func(t *testing.T) {
		b, c := open(t)
		write(t, c, "exit")
		wantClose(t, c, 1011, "broke off")
		if e := b.sessions.Sessions()[0].LastError; e == nil || !strings.Contains(e.Message, "broke off a WebSocket") {
			t.Errorf("last error %+v", e)
		}
	})
	t.Run("agent exits", func(t *testing.T) {
		b, c := open(t)
		b.fake.Sandboxes()[0].ExitWith(3)
		wantClose(t, c, 1011, "exited with code 3")
	})
	t.Run("session stopped", func(t *testing.T) {
		b, c := open(t)
		b.stopSession(t)
		wantClose(t, c, 1001, "was stopped by StopRuntimeSession")
	})
	t.Run("server drains", func(t *testing.T) {
		b, c := open(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.sessions.Drain(t.Context()); err != nil {
				t.Errorf("drain: %v", err)
			}
		})
		wantClose(t, c, 1001, "the server shuts down")
		wg.Wait()
		if n := b.fake.Live(); n != 1 {
			t.Errorf("%d sandboxes, want the session's", n)
		}
	})
	t.Run("client is gone", func(t *testing.T) {
		b, c := open(t)
		_ = c.CloseNow()
		b.awaitInFlight(t, 0)
	})
	t.Run("frame too large", func(t *testing.T) {
		_, c := open(t)
		_ = c.Write(t.Context(), websocket.MessageBinary, make([]byte, 64<<10+1))
		wantClose(t, c, 1009, "at most 65536")
	})
	t.Run("too many frames", func(t *testing.T) {
		_, c := open(t)
		go func() {
			for range 2000 {
				if c.Write(t.Context(), websocket.MessageText, []byte("x")) != nil {
					return
				}
			}
		}()
		wantClose(t, c, 1008, "250 frames")
	})
}

// A frame that comes in the same packet as the handshake is not lost.
func TestFrameRightBehindTheHandshake(t *testing.T) {
	b := newBed(t, socketAgent(t))
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET /runtimes/echo/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x82\x00\x00\x00\x00hi")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%+v, %v", resp, err)
	}
	var all []byte
	for buf := make([]byte, 4096); !strings.HasSuffix(string(all), "\x81\x02hi"); {
		n, err := r.Read(buf)
		if all = append(all, buf[:n]...); err != nil {
			t.Fatalf("read %q, %v", all, err)
		}
	}
}

func TestWebSocketIsForHTTPAgents(t *testing.T) {
	b := newBed(t, socketAgent(t))
	b.deploy(t, "tools", isolde.VersionSpec{Protocol: isolde.ProtocolMCP})
	_, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(b.url, "http")+"/runtimes/tools/ws", nil)
	if err == nil || resp == nil || resp.StatusCode != 400 {
		t.Fatalf("%v, %+v", err, resp)
	}
	if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), "speaks MCP, which has no WebSocket") {
		t.Errorf("%s", body)
	}
}
