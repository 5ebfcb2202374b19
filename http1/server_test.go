package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// talk is a handler that tells what it was asked.
func talk(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/p/unread":
		http.Error(w, "no", http.StatusBadRequest)
		return
	case "/p/panic":
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "/p/close":
		w.Header().Set("Connection", "close")
	case "/p/empty":
		w.WriteHeader(http.StatusNoContent)
		return
	case "/p/short":
		w.Header().Set("Content-Length", "10")
	case "/p/newline":
		w.Header().Set("X-Two", "a\r\nX-Evil: b")
	case "/p/stream":
		for i := range 3 {
			fmt.Fprintf(w, "part %d\n", i)
			_ = http.NewResponseController(w).Flush()
		}
		return
	case "/p/long":
		_, _ = w.Write(bytes.Repeat([]byte("0123456789"), 10_000))
		return
	}
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %q %v", r.Method, r.URL, body, err)
}

// startServer serves a handler on loopback, with http1 or with net/http alone.
func startServer(t *testing.T, ours bool, h http.HandlerFunc, set ...func(*http.Server)) (addr string, s *Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	for _, f := range set {
		f(plain)
	}
	s = &Server{HTTP: plain, Plain: func(_, target string) bool { return strings.HasPrefix(target, "/p/") }}
	served := make(chan error, 1)
	go func() {
		if ours {
			served <- s.Serve(l)
		} else {
			served <- plain.Serve(l)
		}
	}()
	t.Cleanup(func() {
		s.Close()
		plain.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String(), s
}

func dial(t *testing.T, addr, text string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), bufio.NewReader(c)
}

// transcript is all that a server answers to bytes, one string an answer.
func transcript(t *testing.T, addr, text string) (out []string) {
	_, r := dial(t, addr, text)
	for {
		if _, err := r.Peek(1); err != nil {
			return append(out, "end")
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
		if err != nil {
			return append(out, "not HTTP")
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		resp.Header.Del("Date")
		if len(body) > 200 {
			body = fmt.Appendf(nil, "%d bytes", len(body))
		}
		out = append(out, fmt.Sprintf("%s %d %v %v %v %s %v", resp.Status, resp.ContentLength, resp.TransferEncoding, resp.Close, resp.Header, body, err))
	}
}

// bye is a last request, so that every conversation ends.
const bye = "POST /p/close HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nbye"

func TestServerAnswersLikeNetHTTP(t *testing.T) {
	ours, _ := startServer(t, true, talk)
	theirs, _ := startServer(t, false, talk)
	post := func(path, headers, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
	}
	for _, test := range []struct{ name, text string }{
		{"one", post("/p/a", "", "hello")},
		{"no body", "POST /p/a HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"pipelined", post("/p/a", "", "1") + post("/p/b", "", "") + post("/p/c?d=e", "", "3")},
		{"another path between", post("/p/a", "", "1") + post("/other", "", "2") + post("/p/c", "", "3")},
		{"chunks between", post("/p/a", "", "1") + "POST /p/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + post("/p/c", "", "3")},
		{"closing", post("/p/a", "Connection: close\r\n", "1")},
		{"HTTP/1.0", "POST /p/a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"},
		{"malformed", "POST /p/a HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n"},
		{"two lengths", "POST /p/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"},
		{"length and chunks", "POST /p/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"no host", "POST /p/a HTTP/1.1\r\n\r\n"},
		{"not HTTP", "hello\r\n\r\n"},
		{"long head", post("/p/a", "A: "+strings.Repeat("x", 20_000)+"\r\n", "hi")},
		{"expectation", post("/p/a", "Expect: 100-continue\r\n", "hi")},
		{"204", post("/p/empty", "", "")},
		{"stream", post("/p/stream", "", "")},
		{"long answer", post("/p/long", "", "")},
		{"answer too short", post("/p/short", "", "")},
		{"header of two lines", post("/p/newline", "", "")},
		{"panic", post("/p/panic", "", "")},
		{"unread", post("/p/unread", "", "hello") + post("/p/a", "", "after")},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := transcript(t, theirs, test.text+bye)
			if diff := cmp.Diff(want, transcript(t, ours, test.text+bye)); diff != "" {
				t.Errorf("(-net/http +http1):\n%s", diff)
			}
		})
	}
}

func TestHeadInPieces(t *testing.T) {
	addr, _ := startServer(t, true, talk)
	text := "POST /p/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
	c, r := dial(t, addr, "")
	for range 2 {
		for i := range text {
			if _, err := c.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != `POST /p/a "hello" <nil>` {
			t.Errorf("answer %s", body)
		}
	}
}

func TestClientThatGoesAwayCancelsItsRequest(t *testing.T) {
	for _, body := range []string{"", "Content-Length: 2\r\n\r\n{}", "Content-Length: 2\r\n\r\n{"} {
		working, canceled := make(chan bool), make(chan bool)
		addr, _ := startServer(t, true, func(_ http.ResponseWriter, r *http.Request) {
			working <- true
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			canceled <- true
		})
		if body == "" {
			body = "\r\n"
		}
		c, _ := dial(t, addr, "POST /p/a HTTP/1.1\r\nHost: x\r\n"+body)
		<-working
		c.Close()
		<-canceled
	}
}

// What was sent after the request keeps it from looking like the end.
func TestClientThatPipelinesAndStopsSendingGetsItsAnswers(t *testing.T) {
	addr, _ := startServer(t, true, talk)
	c, r := dial(t, addr, "POST /p/a HTTP/1.1\r\nHost: x\r\n\r\nPOST /p/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

func TestConnectionsThatSayNothingAreClosed(t *testing.T) {
	addr, _ := startServer(t, true, talk, func(s *http.Server) {
		s.ReadHeaderTimeout, s.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
	})
	for _, text := range []string{"", "POST /p/a", "POST /p/a HTTP/1.1\r\nHost: x\r\n\r\n"} {
		_, r := dial(t, addr, text)
		if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the connection stays", text)
		}
	}
}

func TestHeadThatTricklesInIsCutOff(t *testing.T) {
	addr, _ := startServer(t, true, talk, func(s *http.Server) { s.ReadHeaderTimeout = 50 * time.Millisecond })
	c, _ := dial(t, addr, "POST /p/a HTTP/1.1\r\nHost: x\r\nA: ")
	for range 1000 {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the connection stays")
}

func TestCloseBeforeServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{HTTP: &http.Server{Handler: http.HandlerFunc(talk)}, Plain: func(_, _ string) bool { return true }}
	s.Close()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
}

func TestShutdownWaitsForRequests(t *testing.T) {
	working, goOn := make(chan bool), make(chan bool)
	addr, s := startServer(t, true, func(w http.ResponseWriter, r *http.Request) {
		working <- true
		<-goOn
		talk(w, r)
	})
	idle, _ := dial(t, addr, "")
	_, busy := dial(t, addr, "POST /p/a HTTP/1.1\r\nHost: x\r\n\r\n")
	<-working
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown while a request runs: %v", err)
	}
	if n, err := idle.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("idle connection: %d, %v", n, err)
	}
	close(goOn)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	resp, err := http.ReadResponse(busy, nil)
	if err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("answer: %+v, %v", resp, err)
	}
}

func TestRefusedBodyDoesNotTakeTheAnswerAway(t *testing.T) {
	addr, _ := startServer(t, true, talk)
	c, r := dial(t, addr, "POST /p/unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
	go func() { _, _ = c.Write(make([]byte, 1<<20)) }() // and never the rest
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 400 {
		t.Fatalf("answer: %+v, %v", resp, err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "no\n" {
		t.Errorf("body %q, %v", body, err)
	}
}
