package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// TestHostileClients lets many clients misbehave at once: slow ones, ones with
// heads that never end, ones that smuggle, and one with ever new session ids.
// Meanwhile a client that behaves is served, and afterwards the server has
// given back what they took.
func TestHostileClients(t *testing.T) {
	b := newBed(t, "process", "--max-sessions", "4")
	arn := b.deploy("agents/crowd")
	good, victim := sessionNumber(1), sessionNumber(2)
	b.echo(arn, good, `{}`)
	b.echo(arn, victim, `{}`)
	descriptors, memory := b.descriptors(), b.resident()

	var attacks sync.WaitGroup
	done := make(chan struct{})
	served := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-done:
				served <- n
				return
			default:
				if r := b.echo(arn, good, `{}`); r.Count != n+2 {
					t.Errorf("call %d of the client that behaves was the agent's call %d", n+2, r.Count)
				}
			}
		}
	}()

	path := "/runtimes/" + strings.ReplaceAll(arn, "/", "%2F") + "/invocations"
	head := func(id isolde.SessionID, more string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nX-Amzn-Bedrock-AgentCore-Runtime-Session-Id: " + string(id) + "\r\n" + more
	}
	for range 300 { // heads and bodies that stop half way
		for _, text := range []string{"POST " + path + " HTTP/1.1\r\nHost: loc", head(sessionNumber(3), "Content-Length: 90\r\n\r\n{")} {
			conn := b.raw()
			defer conn.Close()
			if _, err := io.WriteString(conn, text); err != nil {
				t.Error(err)
			}
		}
	}
	for range 20 { // heads without an end
		attacks.Go(func() {
			conn := b.raw()
			defer conn.Close()
			line := "X-Amzn-Bedrock-AgentCore-Runtime-Custom-A: " + strings.Repeat("a", 4000) + "\r\n"
			_, err := io.WriteString(conn, head(sessionNumber(3), ""))
			for n := 0; err == nil; n++ {
				if n > 10_000 {
					t.Error("a head of 40 MB is still read")
					return
				}
				_, err = io.WriteString(conn, line)
			}
		})
	}
	attacks.Go(func() { b.smuggle(t, victim, head) })
	var refused atomic.Int32
	attacks.Go(func() { // no more sessions than there may be, and nothing is kept of the others
		each(1000, 11_000, func(n int) {
			resp, err := b.request(t.Context(), arn, sessionNumber(n), strings.NewReader(`{}`))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusPaymentRequired:
				refused.Add(1)
			case http.StatusOK: // one of the few that there may be
			default:
				t.Errorf("a session too many: %s", resp.Status)
			}
		})
	})
	attacks.Wait()
	close(done)
	t.Logf("%d calls were served meanwhile, %d sessions refused", <-served, refused.Load())
	if refused.Load() < 9_900 {
		t.Errorf("%d sessions were refused", refused.Load())
	}
	if states, _ := b.states(""); states[isolde.SessionStopped] > 10 {
		t.Errorf("refused sessions are remembered: %v", states)
	}
	b.await(func() error {
		if now := b.descriptors(); now > descriptors+650 { // those that stop half way may hold on until their time is over
			return fmt.Errorf("the server had %d files open and has %d", descriptors, now)
		}
		return nil
	})
	if now := b.resident(); now > memory+256<<20 {
		t.Errorf("the server had %d MB resident and has %d", memory>>20, now>>20)
	}
}

// smuggle sends requests that two readers might tell apart differently, and
// looks whether the agent saw more than the server answered for it.
func (b *bed) smuggle(t *testing.T, id isolde.SessionID, head func(isolde.SessionID, string) string) {
	inner := "POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 2\r\n\r\n{}"
	chunked := func(te string) string {
		return head(id, te+"Content-Type: application/json\r\n\r\n") + "2\r\n{}\r\n0\r\n\r\n" + inner
	}
	answered := 1 // the call that began the session
	for name, text := range map[string]string{
		"length and chunks":      chunked(fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", 12+len(inner))),
		"chunks and length":      chunked("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"),
		"two lengths":            head(id, fmt.Sprintf("Content-Length: 2\r\nContent-Length: %d\r\n\r\n", 2+len(inner))) + "{}" + inner,
		"a list of lengths":      head(id, "Content-Length: 2, 2\r\n\r\n") + "{}" + inner,
		"a length with a sign":   head(id, "Content-Length: +2\r\n\r\n") + "{}" + inner,
		"an encoding twice":      chunked("Transfer-Encoding: chunked, chunked\r\n"),
		"an unknown encoding":    chunked("Transfer-Encoding: xchunked\r\n"),
		"a space before a colon": chunked("Transfer-Encoding : chunked\r\n"),
		"a tab in the encoding":  chunked("Transfer-Encoding:\x0bchunked\r\n"),
		"a folded line":          chunked("Transfer-Encoding:\r\n chunked\r\n"),
		"lines without CR":       strings.ReplaceAll(chunked("Transfer-Encoding: chunked\r\n"), "\r\n", "\n"),
		"a line in a header":     head(id, "X-Amzn-Bedrock-AgentCore-Runtime-Custom-A: b\rContent-Length: 0\r\nContent-Length: 2\r\n\r\n") + "{}" + inner,
		"a chunk too long":       head(id, "Transfer-Encoding: chunked\r\n\r\n") + "ffffffffffffffff2\r\n{}\r\n0\r\n\r\n" + inner,
		"a chunk with a tail":    head(id, "Transfer-Encoding: chunked\r\n\r\n") + "2;a=\n\n0\r\n\r\n{}\r\n0\r\n\r\n" + inner,
	} {
		conn := b.raw()
		if _, err := io.WriteString(conn, text+"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		in := bufio.NewReader(conn)
		for {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				break // there is no further answer
			}
			body, err := io.ReadAll(resp.Body)
			if err == nil && resp.StatusCode == http.StatusOK && calls.Match(body) {
				answered++
			}
		}
		conn.Close()
		resp, body := b.call("crowd", id, strings.NewReader(`{}`))
		answered++
		if want := fmt.Sprintf(`{"count":%d,`, answered); resp.StatusCode != 200 || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s: %s: the agent was called more often, or less, than was answered: %s, want %s", name, resp.Status, body, want)
			return
		}
	}
}

var calls = regexp.MustCompile(`^\{"count":\d+,`)

// raw is a connection to the server.
func (b *bed) raw() net.Conn {
	b.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // cannot fail on an open connection
	return conn
}

// resident is the memory that the server holds, in bytes.
func (b *bed) resident() int {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.server.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		b.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
