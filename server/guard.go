package server

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde/http1"
)

// guard keeps web pages away: a page in a user's browser reaches what the user
// reaches, and with the password that the browser keeps for the console. It refuses
// unsafe requests from another origin (cross-site request forgery), and, at a
// server that trusts whoever reaches its loopback port, requests under a
// foreign host name (DNS rebinding). A request for a WebSocket is
// unsafe although it is a GET: browsers let every page open one and read it.
func guard(next http.Handler, loopback bool) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deny(w, "requests from the web page "+r.Header.Get("Origin")+" are refused")
	}))
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if loopback && !isLoopbackHost(r.Host) {
			deny(w, "this server answers on loopback only, not as "+r.Host)
			return
		}
		if r.Header.Get("Upgrade") != "" {
			unsafe := *r
			unsafe.Method = http.MethodPost
			if cross.Check(&unsafe) != nil {
				deny(w, "WebSockets of the web page "+r.Header.Get("Origin")+" are refused")
				return
			}
		}
		w.Header()["X-Content-Type-Options"] = nosniff
		inner.ServeHTTP(w, r)
	})
}

var nosniff = []string{"nosniff"} // nobody changes it

// The bounds of reading what is left of a request that was answered.
const (
	maxDrain     = 256 << 20
	drainTimeout = 30 * time.Second
)

// drain reads what a handler left of a request's body. A client that sends
// all of a body before it looks for the answer, as most do, would otherwise
// meet a reset connection in place of the error that was meant for it.
func drain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := &endedBody{ReadCloser: r.Body}
		r.Body = body
		next.ServeHTTP(w, r)
		if body.ended.Load() || r.ContentLength == 0 || r.Header.Get("Expect") != "" {
			return // nothing is left, or is sent only after a word that the client did not get
		}
		rc := http.NewResponseController(w)
		if rc.Flush() != nil || rc.SetReadDeadline(time.Now().Add(drainTimeout)) != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, body, maxDrain); errors.Is(err, io.EOF) {
			_ = rc.SetReadDeadline(time.Time{}) // the connection is good for more
		}
	})
}

// endedBody knows whether a body was read to its end.
type endedBody struct {
	io.ReadCloser
	ended atomic.Bool
}

func (b *endedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // which interrupts, and ends nothing
		b.ended.Store(true)
	}
	return n, err
}

// WriteTo is for http1.Copy.
func (b *endedBody) WriteTo(w io.Writer) (int64, error) {
	n, err := http1.Copy(w, b.ReadCloser)
	if failed := (*http1.ReadError)(nil); err == nil || errors.As(err, &failed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.ended.Store(true)
	}
	return n, err
}

// Buffered is how many bytes can be read without waiting.
func (b *endedBody) Buffered() int {
	if r, ok := b.ReadCloser.(interface{ Buffered() int }); ok {
		return r.Buffered()
	}
	return 0
}

func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func deny(w http.ResponseWriter, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
	w.WriteHeader(http.StatusForbidden)
	json.NewEncoder(w).Encode(map[string]string{"message": message}) //nolint:errcheck // the caller is gone then
}
