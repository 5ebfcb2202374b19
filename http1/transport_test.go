package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// peer is a server of bare connections.
func peer(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) *Transport {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	tr := &Transport{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}}
	t.Cleanup(func() {
		tr.Close()
		l.Close()
		<-done
	})
	return tr
}

// readRequest reads a request with its body.
func readRequest(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return err
}

func post(t *testing.T, tr *Transport, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/invocations", body)
	if err != nil {
		t.Fatal(err)
	}
	return tr.RoundTrip(req)
}

// say makes a call and returns its answer as text.
func say(t *testing.T, tr *Transport, body string) string {
	t.Helper()
	resp, err := post(t, tr, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s %v", resp.StatusCode, text, err)
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestConnectionsAreKept(t *testing.T) {
	var conns atomic.Int32
	tr := peer(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for readRequest(r) == nil {
			_, _ = io.WriteString(c, ok)
		}
	})
	for range 5 {
		if got := say(t, tr, "hi"); got != "200 ok <nil>" {
			t.Error(got)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// The peer closes every connection after an answer and does not say so, and a
// request that meets the close is sent again.
func TestRequestThatMeetsACloseIsSentAgain(t *testing.T) {
	var answered atomic.Int32
	tr := peer(t, func(c net.Conn, r *bufio.Reader) {
		if readRequest(r) == nil {
			answered.Add(1)
			_, _ = io.WriteString(c, ok)
		}
	})
	for i := range 200 {
		if got := say(t, tr, "hi"); got != "200 ok <nil>" {
			t.Fatalf("call %d: %s", i, got)
		}
	}
	if n := answered.Load(); n != 200 {
		t.Errorf("%d requests arrived", n)
	}
}

// A request that arrived is not sent again, whatever happened to it.
func TestRequestThatArrivedIsNotSentAgain(t *testing.T) {
	var arrived atomic.Int32
	tr := peer(t, func(c net.Conn, r *bufio.Reader) {
		for readRequest(r) == nil {
			if arrived.Add(1)%2 == 0 {
				return
			}
			_, _ = io.WriteString(c, ok)
		}
	})
	say(t, tr, "first")
	if got := say(t, tr, "second"); strings.HasPrefix(got, "200") || arrived.Load() != 2 {
		t.Errorf("%s, %d requests arrived", got, arrived.Load())
	}
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct{ name, raw, want string }{
		{"plain", ok, "200 ok <nil>"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", "200 ok <nil>"},
		{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", "200 ok <nil>"},
		{"early hints", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok, "200 ok <nil>"},
		{"until the end", "HTTP/1.0 200 OK\r\n\r\nok", "200 ok <nil>"},
		{"hints without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9), errInformational.Error()},
		{"cut", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok", "200 ok unexpected EOF"},
		{"cut chunk", "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok", "404 ok unexpected EOF"},
		{"no last line", "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "404 ok unexpected EOF"},
		{"head without end", "HTTP/1.1 404 No\r\n" + strings.Repeat("A: "+strings.Repeat("x", 1000)+"\r\n", 2000), errHeadBound.Error()},
	} {
		tr := peer(t, func(c net.Conn, r *bufio.Reader) {
			for readRequest(r) == nil {
				_, _ = io.WriteString(c, test.raw)
				if !strings.HasPrefix(test.raw, "HTTP/1.1 200") {
					return
				}
			}
		})
		for range 2 {
			if got := say(t, tr, "hi"); !strings.Contains(got, test.want) {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		}
	}
}

// An answer that nobody asked for must not be taken for the next one's.
func TestMoreThanTheAnswerIsNotTheNextOne(t *testing.T) {
	tr := peer(t, func(c net.Conn, r *bufio.Reader) {
		for readRequest(r) == nil {
			_, _ = io.WriteString(c, ok+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		}
	})
	for range 3 {
		if got := say(t, tr, "hi"); got != "200 ok <nil>" {
			t.Error(got)
		}
	}
}

func TestHeadersThatWouldEndTheHeadAreNotSent(t *testing.T) {
	tr := peer(t, func(net.Conn, *bufio.Reader) {})
	for _, h := range []http.Header{{"A": {"b\r\nC: d"}}, {"A\r\nB": {"c"}}, {"A": {"\x00"}}} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/", nil)
		req.Header = h
		if _, err := tr.RoundTrip(req); !errors.Is(err, errHeader) {
			t.Errorf("%q: %v", h, err)
		}
	}
}

func TestCloseAndCancelEndRequests(t *testing.T) {
	arrived := make(chan bool)
	tr := peer(t, func(_ net.Conn, r *bufio.Reader) {
		_ = readRequest(r)
		arrived <- true
		_, _ = r.ReadByte()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	cause := errors.New("enough")
	call := func(ctx context.Context) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/", strings.NewReader("{}"))
		_, err := tr.RoundTrip(req)
		failed <- err
	}
	go call(ctx)
	<-arrived
	cancel(cause)
	if err := <-failed; !errors.Is(err, cause) {
		t.Errorf("canceled: %v", err)
	}
	go call(t.Context())
	<-arrived
	tr.Close()
	if err := <-failed; err == nil {
		t.Error("closed: no error")
	}
	if _, err := post(t, tr, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// stuck is a body that is never whole; Close ends its Read.
type stuck struct{ closed chan struct{} }

func (s stuck) Read([]byte) (int, error) {
	<-s.closed
	return 0, errors.New("interrupted")
}

func (s stuck) Close() error {
	close(s.closed)
	return nil
}

func TestConnectionIsKeptAfterALongBody(t *testing.T) {
	var conns atomic.Int32
	tr := peer(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for readRequest(r) == nil {
			_, _ = io.WriteString(c, ok)
		}
	})
	for range 20 {
		if got := say(t, tr, strings.Repeat("x", 2*inMemory)); got != "200 ok <nil>" {
			t.Error(got)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAnswerBeforeTheBodysEnd(t *testing.T) {
	tr := peer(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, ok)
		_, _ = r.ReadByte()
	})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/", stuck{make(chan struct{})})
	req.ContentLength = 1 << 20
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "ok" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

// TestBodies carries bodies of all kinds through a Server and a Transport,
// both ways at once.
func TestBodies(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 && r.URL.Query().Get("chunked") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r.Body}, make([]byte, 100_000)); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	agent, _ := startServer(t, true, echo)
	tr := &Transport{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", agent)
	}}
	t.Cleanup(tr.Close)
	front, _ := startServer(t, true, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		req, _ := http.NewRequestWithContext(r.Context(), http.MethodPost, "http://agent"+r.URL.String(), r.Body)
		req.ContentLength = r.ContentLength
		resp, err := tr.RoundTrip(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		if resp.ContentLength >= 0 {
			w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
		}
		if _, err := Copy(w, resp.Body); err != nil {
			t.Errorf("copy: %v", err)
			panic(http.ErrAbortHandler)
		}
	})
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	t.Cleanup(client.CloseIdleConnections)
	for _, size := range []int{0, 1, 4096, inline, inMemory, inMemory + 1, bulk, 3_000_001} {
		payload := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		for _, query := range []string{"", "?chunked=1"} {
			for name, body := range map[string]io.Reader{"length": bytes.NewReader(payload), "chunks": io.MultiReader(bytes.NewReader(payload))} {
				resp, err := client.Post("http://"+front+"/p/a"+query, "text/plain", body)
				if err != nil {
					t.Fatalf("%d, %s: %v", size, name, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || sha256.Sum256(got) != sha256.Sum256(payload) {
					t.Errorf("%d bytes, %s%s: %s, %d bytes came back, %v", size, name, query, resp.Status, len(got), err)
				}
			}
		}
	}
}
