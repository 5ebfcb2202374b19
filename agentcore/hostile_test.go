package agentcore_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
)

// dial opens a connection of a client that does not behave, and sends the
// head of an invocation.
func (b *bed) dial(t *testing.T, head string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /runtimes/echo/invocations HTTP/1.1\r\nHost: x\r\n%s: %s\r\n%s", agentcore.HeaderSession, sessionID, head)
	return c
}

// awaitInFlight waits until so many requests are in the session.
func (b *bed) awaitInFlight(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		for _, s := range b.sessions.Sessions() {
			if s.InFlight == n && s.State != isolde.SessionStarting {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("never %d requests in flight: %+v", n, b.sessions.Sessions())
		}
	}
}

func (b *bed) stopSession(t *testing.T) {
	t.Helper()
	resp := b.post(t, "/runtimes/echo/stopruntimesession", http.Header{agentcore.HeaderSession: {sessionID}}, strings.NewReader("{}"))
	if resp.StatusCode != 200 {
		t.Fatalf("stop: %s", resp.Status)
	}
}

func TestClientThatNeverSendsItsWholeBodyHearsOfTheSessionsEnd(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(t, "Content-Length: 1000\r\n\r\n{}")
	b.awaitInFlight(t, 1)
	b.stopSession(t)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.Contains(line, "200") && !strings.Contains(line, "424") {
		t.Errorf("client got %q", line)
	}
	if err != nil {
		t.Errorf("client got %q, %v", line, err)
	}
}

// The test's goleak fails if the handler of a client that stopped reading
// stays behind.
func TestClientThatDoesNotReadHoldsNothing(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for part := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}))
	b.dial(t, "Content-Length: 2\r\n\r\n{}")
	b.awaitInFlight(t, 1)
	b.stopSession(t)
}

func TestAnswersThatAreNone(t *testing.T) {
	var raw string
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, raw)
		c.Close()
	}))
	for _, test := range []struct {
		name, raw string
		status    int
		header    http.Header // of the client's answer; an empty value must be absent
	}{
		{"upgrade", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\nhello", 424, nil},
		{"redirect", "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://agent/x\r\nContent-Length: 0\r\n\r\n", 424, http.Header{"Location": {""}}},
		{"not modified", "HTTP/1.1 304 Not Modified\r\n\r\n", 424, nil},
		{"not HTTP", "hello\r\n\r\n", 424, nil},
		{"headers", "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nX-Own: 2\r\nClear-Site-Data: \"*\"\r\nContent-Length: 13\r\n\r\n<html></html>", 200, http.Header{
			"X-Secret": {""}, "X-Own": {"2"}, "Clear-Site-Data": {""}, "Content-Type": {"application/octet-stream"},
		}},
	} {
		raw = test.raw
		resp := b.post(t, "/runtimes/echo/invocations", http.Header{agentcore.HeaderSession: {sessionID}}, strings.NewReader("{}"))
		if resp.StatusCode != test.status {
			t.Errorf("%s: client got %s, want %d", test.name, resp.Status, test.status)
		}
		for k, v := range test.header {
			if got := resp.Header.Get(k); got != v[0] {
				t.Errorf("%s: %s = %q, want %q", test.name, k, got, v[0])
			}
		}
	}
}

func TestUnknownPathsAnswerInJSON(t *testing.T) {
	b := newBed(t, nil)
	for _, path := range []string{"/memories/x/events", "/runtimes/x/nothing", "/runtimes/echo/invocations/x"} {
		resp := b.post(t, path, nil, nil)
		if resp.StatusCode != 404 || resp.Header.Get("X-Amzn-ErrorType") != "ResourceNotFoundException" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %v", path, resp.Status, resp.Header)
		}
	}
}

func TestDeletingOneVersionDoesNotDeleteTheAgent(t *testing.T) {
	b := newBed(t, nil)
	id := strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))
	if a := b.do(t, http.MethodDelete, "/runtimes/"+id+"/?version=1", nil); a.status != 409 {
		t.Errorf("delete of the version that DEFAULT serves: %d %s", a.status, a.body)
	}
	if resp := b.post(t, "/runtimes/"+id+"/invocations", nil, strings.NewReader("{}")); resp.StatusCode != 200 {
		t.Errorf("the agent is gone: %s", resp.Status)
	}
}
