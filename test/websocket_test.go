package test

import (
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde/operator"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
)

// TestWebSocketOfTheOfficialSDK converses with an agent's @app.websocket.
func TestWebSocketOfTheOfficialSDK(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/websocket")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()

		c, hello := b.connect(ctx, arn, sessionNumber(1))
		if !strings.Contains(hello, `"session": "`+string(sessionNumber(1))+`"`) {
			t.Errorf("the agent got %s", hello)
		}
		for _, text := range []string{"hi", strings.Repeat("x", 64<<10)} {
			if err := c.Write(ctx, websocket.MessageBinary, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if kind, got, err := c.Read(ctx); err != nil || kind != websocket.MessageBinary || string(got) != text {
				t.Fatalf("%d bytes came back as %v, %d bytes, %v", len(text), kind, len(got), err)
			}
		}
		b.say(ctx, c, "close")
		wantClose(ctx, t, c, 4000, "as you say")

		c, _ = b.connect(ctx, arn, sessionNumber(1))
		if _, err := b.client.StopSession(ctx, "", sessionNumber(1)); err != nil {
			t.Fatal(err)
		}
		wantClose(ctx, t, c, websocket.StatusGoingAway, "the session ended")

		c, _ = b.connect(ctx, arn, sessionNumber(2))
		b.say(ctx, c, "exit")
		wantClose(ctx, t, c, websocket.StatusInternalError, "exited with code 3")

		// The session outlives the server, its connections do not.
		c, _ = b.connect(ctx, arn, sessionNumber(3))
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			wantClose(ctx, t, c, websocket.StatusGoingAway, "the server shuts down")
		}()
		b.stop(syscall.SIGTERM)
		<-closed
		b.start()
		c, _ = b.connect(ctx, arn, sessionNumber(3))
		if list, err := b.client.Sessions(ctx, operator.SessionFilter{}); err != nil || len(list) != 1 || list[0].State != isolde.SessionActive || list[0].InFlight != 1 {
			t.Errorf("sessions %+v, %v", list, err)
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// connect opens a WebSocket to an agent and reads its first message.
func (b *bed) connect(ctx context.Context, arn string, session isolde.SessionID) (*websocket.Conn, string) {
	b.t.Helper()
	url := "ws" + strings.TrimPrefix(b.url, "http") + "/runtimes/" + strings.ReplaceAll(arn, "/", "%2F") + "/ws"
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": {string(session)}}})
	if err != nil {
		b.t.Fatalf("connect: %v", err)
	}
	b.t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(1 << 20)
	_, hello, err := c.Read(ctx)
	if err != nil {
		b.t.Fatalf("first message: %v", err)
	}
	return c, string(hello)
}

func (b *bed) say(ctx context.Context, c *websocket.Conn, text string) {
	b.t.Helper()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

func wantClose(ctx context.Context, t *testing.T, c *websocket.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	if _, got, err := c.Read(ctx); websocket.CloseStatus(err) != code || !strings.Contains(err.Error(), reason) {
		t.Errorf("read %q, %v; want Close %d …%s…", got, err, code, reason)
	}
}
