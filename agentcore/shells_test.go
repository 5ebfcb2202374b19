package agentcore_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// shellBed is a bed whose sandboxes have sandboxtest's shell.
func shellBed(t *testing.T) *bed {
	b := newBed(t, nil)
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return sandboxtest.Script{Exec: sandboxtest.Shell} }
	return b
}

const shellSession = "shell-session-00000000000000000000001"

// sitter is a client of a shell: a library's WebSocket, and frames by hand.
type sitter struct {
	t *testing.T
	*websocket.Conn
	ctx context.Context
}

func (b *bed) shellURL(query string) string {
	return "ws" + strings.TrimPrefix(b.url, "http") + "/runtimes/" + url.PathEscape(b.arn) + "/ws/shells?" +
		agentcore.HeaderSession + "=" + shellSession + query
}

// sit connects to a shell and reads what the server confirms.
func (b *bed) sit(t *testing.T, query string) (s *sitter, resp *http.Response, confirmed string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	c, resp, err := websocket.Dial(ctx, b.shellURL(query), nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	s = &sitter{t, c, ctx}
	channel, confirmed := s.next()
	if channel != 3 {
		t.Errorf("the first frame is of channel %d: %s", channel, confirmed)
	}
	return s, resp, confirmed
}

func (s *sitter) next() (byte, string) {
	s.t.Helper()
	kind, b, err := s.Read(s.ctx)
	if err != nil || kind != websocket.MessageBinary || len(b) == 0 {
		s.t.Fatalf("read %v, %q, %v", kind, b, err)
	}
	return b[0], string(b[1:])
}

func (s *sitter) say(frame string) {
	s.t.Helper()
	if err := s.Write(s.ctx, websocket.MessageBinary, []byte(frame)); err != nil {
		s.t.Fatalf("write: %v", err)
	}
}

// want reads until a channel's frames end with a text.
func (s *sitter) want(channel byte, text string) {
	s.t.Helper()
	for all := ""; all == "" || !strings.HasSuffix(all, text); {
		c, payload := s.next()
		if c != channel {
			s.t.Fatalf("channel %d: %q; want %q on %d after %.200q", c, payload, text, channel, all)
		}
		if all += payload; all == "" && text == "" {
			return
		}
	}
}

func (s *sitter) wantClose(code websocket.StatusCode, reason string) {
	s.t.Helper()
	for {
		_, b, err := s.Read(s.ctx)
		if err == nil && len(b) > 0 && (b[0] == 1 || b[0] == 0xFF) {
			continue
		}
		if websocket.CloseStatus(err) != code || !strings.Contains(err.Error(), reason) {
			s.t.Errorf("read %q, %v; want Close %d …%s…", b, err, code, reason)
		}
		return
	}
}

func TestShell(t *testing.T) {
	b := shellBed(t)
	s, resp, confirmed := b.sit(t, "&shellId=mine")
	if resp.Header.Get(agentcore.HeaderShell) != "mine" || resp.Header.Get(agentcore.HeaderSession) != shellSession || resp.Header.Get(agentcore.HeaderRequestID) == "" {
		t.Errorf("header %v", resp.Header)
	}
	if want := `{"kind":"Status","apiVersion":"v1","metadata":{"shellId":"mine","reconnected":false},"status":"Success"}`; confirmed != want {
		t.Errorf("confirmed %s", confirmed)
	}
	s.want(1, "80 x 24\n")
	s.say("\x04" + `{"width":132,"height":50}`)
	s.want(1, "132 x 50\n")
	s.say("\x04" + `{"width":0}`)
	s.want(2, "a window of 0 x 0\r\n")
	s.say("\x05")
	s.want(5, "")
	s.say("\x07of tomorrow")
	s.say("")
	s.say("\x00echo \xff\xfe\n")
	s.want(1, "\xff\xfe\n")
	s.say("\x00flood 300000\necho done\n")
	s.want(1, "done\n")

	// Four text frames are forgiven, and counted anew after a binary one.
	for range 4 {
		if err := s.Write(s.ctx, websocket.MessageText, []byte("ls")); err != nil {
			t.Fatal(err)
		}
	}
	s.say("\x05")
	s.want(5, "")

	// The connection breaks, and another has what was not sent.
	if err := s.CloseNow(); err != nil {
		t.Fatal(err)
	}
	s, _, confirmed = b.sit(t, "&shellId=mine")
	if !strings.Contains(confirmed, `"reconnected":true}`) {
		t.Errorf("confirmed %s", confirmed)
	}
	s.say("\x00echo again\n")
	s.want(1, "again\n")

	taker, _, _ := b.sit(t, "&shellId=mine")
	s.wantClose(4000, "another connection")
	taker.say("\x00exit 5\n")
	taker.want(3, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with exit code 5","details":{"causes":[{"reason":"ExitCode","message":"5"}]}}`)
	taker.wantClose(1000, "the shell has ended")

	_, resp, confirmed = b.sit(t, "")
	if id := resp.Header.Get(agentcore.HeaderShell); len(id) < 20 || !strings.Contains(confirmed, `"shellId":"`+id+`","reconnected":false`) {
		t.Errorf("a shell without a name: %q, %s", id, confirmed)
	}
}

func TestShellConnectionsEnd(t *testing.T) {
	b := shellBed(t)
	for _, test := range []struct {
		name   string
		do     func(s *sitter)
		code   websocket.StatusCode
		reason string
	}{
		{"text frames", func(s *sitter) {
			for range 5 {
				_ = s.Write(s.ctx, websocket.MessageText, []byte("hello"))
			}
		}, 1003, "5 text frames"},
		{"too long", func(s *sitter) { s.say("\x00" + strings.Repeat("x", 64<<10)) }, 1009, ""},
		{"closed", func(s *sitter) { s.say("\xff") }, 1000, "the shell was closed"},
		{"session stopped", func(*sitter) {
			for _, one := range b.sessions.Sessions() {
				if err := b.sessions.Stop(t.Context(), one.Key(), isolde.EndCaller, "was stopped by the test"); err != nil {
					t.Error(err)
				}
			}
		}, 1001, "was stopped by the test"},
		{"server drains", func(*sitter) {
			go func() { _ = b.sessions.Drain(context.Background()) }()
		}, 1001, "the server shuts down"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _, _ := b.sit(t, "&shellId=closed")
			s.want(1, "80 x 24\n")
			test.do(s)
			s.wantClose(test.code, test.reason)
			if test.name == "too long" || test.name == "text frames" {
				again, _, confirmed := b.sit(t, "&shellId=closed")
				if !strings.Contains(confirmed, `"reconnected":true`) {
					t.Errorf("the shell did not outlive its connection: %s", confirmed)
				}
				again.say("\xff")
				again.wantClose(1000, "")
			}
		})
	}
}

func TestShellsThatAreRefused(t *testing.T) {
	b := shellBed(t)
	refused := func(url string, status int, exception, message string) {
		t.Helper()
		c, resp, err := websocket.Dial(t.Context(), url, nil)
		if err == nil {
			_ = c.CloseNow()
			t.Fatalf("%s was accepted", url)
		}
		body := make([]byte, 1024)
		n, _ := resp.Body.Read(body)
		if resp.StatusCode != status || resp.Header.Get("X-Amzn-Errortype") != exception || !strings.Contains(string(body[:n]), message) {
			t.Errorf("%s: %d %s: %s; want %d %s …%s…", url, resp.StatusCode, resp.Header.Get("X-Amzn-Errortype"), body[:n], status, exception, message)
		}
	}
	refused(b.shellURL("&shellId=a%20b"), 400, "ValidationException", "shellId")
	refused(strings.Replace(b.shellURL(""), "echo-", "other-", 1), 404, "ResourceNotFoundException", "")
	refused(strings.Replace(b.shellURL(""), shellSession, "short", 1), 400, "ValidationException", "")
	if a := b.do(t, http.MethodGet, "/runtimes/"+url.PathEscape(b.arn)+"/ws/shells", nil); a.status != 400 || !strings.Contains(string(a.body), "WebSocket") {
		t.Errorf("no WebSocket: %d: %s", a.status, a.body)
	}
	for id := range strings.SplitSeq("abcdefghij", "") {
		b.sit(t, "&shellId="+id)
	}
	refused(b.shellURL("&shellId=k"), isolde.CodeQuota.HTTPStatus(), isolde.CodeQuota.Exception(), "10 shells")
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return sandboxtest.Script{} }
	refused(strings.Replace(b.shellURL(""), shellSession, shellSession+"x", 1), 400, "ValidationException", "run no shells")
}
