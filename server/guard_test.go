package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestGuardKeepsWebPagesOut(t *testing.T) {
	h := guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), true)
	for _, test := range []struct {
		name, method, host, origin, site string
		want                             int
	}{
		{"a program's WebSocket", "GET+", "127.0.0.1:4765", "", "", 200},
		{"a WebSocket of the console", "GET+", "127.0.0.1:4765", "http://127.0.0.1:4765", "same-origin", 200},
		{"a WebSocket of a page of another site", "GET+", "127.0.0.1:4765", "https://evil.example", "", 403},
		{"a program", "POST", "127.0.0.1:4765", "", "", 200},
		{"a program by name", "POST", "localhost:4765", "", "", 200},
		{"IPv6", "POST", "[::1]:4765", "", "", 200},
		{"the console", "POST", "127.0.0.1:4765", "http://127.0.0.1:4765", "same-origin", 200},
		{"a link to the console", "GET", "127.0.0.1:4765", "", "cross-site", 200},
		{"a page of another site", "POST", "127.0.0.1:4765", "https://evil.example", "cross-site", 403},
		{"an old browser", "POST", "127.0.0.1:4765", "https://evil.example", "", 403},
		{"another port's page", "DELETE", "127.0.0.1:4765", "http://127.0.0.1:3000", "same-site", 403},
		{"a rebound name", "GET", "evil.example:4765", "", "", 403},
		{"a name that looks local", "GET", "localhost.evil.example", "", "", 403},
	} {
		method, socket := strings.CutSuffix(test.method, "+")
		r := httptest.NewRequest(method, "/runtimes/x/invocations", nil)
		if socket {
			r.Header.Set("Upgrade", "websocket")
		}
		r.Host = test.host
		for k, v := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s: %d, want %d: %s", test.name, w.Code, test.want, w.Body)
		}
	}
}

// A client that sends its whole body before it reads gets to read the answer
// of a handler that did not want the body.
func TestRefusedBodyIsReadSoThatTheAnswerArrives(t *testing.T) {
	srv := httptest.NewServer(drain(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		http.Error(w, "too large", http.StatusBadRequest)
	})))
	defer srv.Close()
	for range 3 { // and its connection is good for more
		resp, err := srv.Client().Post(srv.URL, "text/plain", io.LimitReader(zeros{}, 64<<20))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), "too large") {
			t.Errorf("read %q, %v", body, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestTwoServersOnOneDataDirectory(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("second lock = %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if unlock, err = lockDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}
