package agentcore

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/spool"
	"github.com/isolde-run/isolde/http1"
)

// Front serves InvokeAgentRuntime in the form that SDKs send, and leaves all
// other requests to next: what a mux does with a path of this form costs as
// much as the rest of this package.
func (h *Handler) Front(next http.Handler) http.Handler {
	invoke := h.allow(auth.Invoke, h.invoke)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if target, ok := invocationOf(r); ok {
			r.SetPathValue("target", target)
			invoke(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// invocationOf reads the target from /runtimes/{target}/invocations, whose
// target is one segment of the path.
func invocationOf(r *http.Request) (target string, ok bool) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	rest, ok1 := strings.CutPrefix(path, "/runtimes/")
	segment, ok2 := strings.CutSuffix(rest, "/invocations")
	if !ok1 || !ok2 || r.Method != http.MethodPost || segment == "" || segment[0] == '.' || strings.Contains(segment, "/") {
		return "", false
	}
	if path != r.URL.RawPath { // it is unescaped already
		return segment, true
	}
	target, err := url.PathUnescape(segment)
	return target, err == nil
}

// invoke serves InvokeAgentRuntime.
func (h *Handler) invoke(w http.ResponseWriter, r *http.Request) {
	request := newRequestID()
	header := w.Header()
	header[HeaderRequestID] = []string{request}
	x := h.exchange(r)
	session, err := x.session(r)
	if err != nil {
		x.writeError(w, err)
		return
	}
	header[HeaderSession] = []string{string(session)} // Go's SDK panics without it
	sent, err := x.agentHeader(r.Header, session, request)
	if err != nil {
		x.writeError(w, err)
		return
	}
	rc := http.NewResponseController(w)
	body := &requestBody{Reader: r.Body, rc: rc}
	_, held := r.Body.(*spool.Body) // it was read to its end already
	body.ended.Store(r.ContentLength == 0 || held)
	inv := &isolde.Invocation{
		Target:        x.target,
		Qualifier:     qualifier(r),
		Session:       session,
		RequestID:     request,
		User:          first(r.Header[HeaderUser]),
		Method:        http.MethodPost,
		Header:        sent,
		Body:          body,
		ContentLength: r.ContentLength,
	}
	// Without full duplex the server, before the first byte of an answer,
	// reads what is left of the request, which is the agent's to read.
	_ = rc.EnableFullDuplex() // HTTP/2 has it anyway
	resp, err := h.Gateway.Invoke(r.Context(), inv)
	body.closeConnectionUnlessRead(w)
	if err != nil {
		x.writeError(w, err)
		return
	}
	defer resp.Body.Close()
	copyHeader(header, resp.Header)
	x.addHeader(header, session)
	if len(resp.Header["Content-Type"]) == 0 { // or net/http would guess one
		header.Set("Content-Type", "application/octet-stream")
	}
	if resp.Body.Whole() {
		err = copyWhole(w, resp)
	} else {
		// A client that does not read must not hold the session.
		stop := context.AfterFunc(resp.Body.Context(), func() { _ = rc.SetWriteDeadline(time.Now().Add(lastWrite)) })
		defer stop()
		w.WriteHeader(resp.Status)
		err = copyBody(w, rc, resp)
	}
	if err != nil {
		// The status is out: only a broken connection tells the client that
		// the answer is not whole.
		// net/http reads the rest of the request even now, and takes the
		// deadline back if it meets a Read: be sure that none runs.
		body.Interrupt()
		_, _ = io.Copy(io.Discard, body)
		panic(http.ErrAbortHandler)
	}
}

// requestBody knows whether a request was read to its end.
type requestBody struct {
	io.Reader
	ended atomic.Bool
	rc    *http.ResponseController
}

// Interrupt ends a Read that waits for the client.
func (b *requestBody) Interrupt() {
	if !b.ended.Load() {
		_ = b.rc.SetReadDeadline(time.Now())
	}
}

// Buffered is how many bytes can be read without waiting.
func (b *requestBody) Buffered() int {
	if r, ok := b.Reader.(interface{ Buffered() int }); ok {
		return r.Buffered()
	}
	return 0
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

// WriteTo is for http1.Copy.
func (b *requestBody) WriteTo(w io.Writer) (int64, error) {
	n, err := http1.Copy(w, b.Reader)
	if err == nil {
		b.ended.Store(true)
	}
	return n, err
}

// closeConnectionUnlessRead gives up the client's connection after the answer
// when the answer begins before the request's end: in full duplex net/http
// does not skip the rest of a request that nobody reads.
func (b *requestBody) closeConnectionUnlessRead(w http.ResponseWriter) {
	if !b.ended.Load() {
		w.Header().Set("Connection", "close")
	}
}

// lastWrite is how long a client may take to read the rest of an answer that
// must be over.
const lastWrite = 5 * time.Second

// stopSession serves StopRuntimeSession.
func (h *Handler) stopSession(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(HeaderRequestID, newRequestID())
	id := r.Header.Get(HeaderSession)
	session, err := isolde.ParseSessionID(id)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set(HeaderSession, string(session))
	target, err := h.target(r)
	if err != nil {
		writeError(w, err)
		return
	}
	t, err := h.Catalog.Resolve(r.Context(), target, qualifier(r))
	if err != nil {
		writeError(w, err)
		return
	}
	key := isolde.SessionKey{Runtime: t.Runtime.ID, Session: session}
	if err := h.Sessions.Stop(r.Context(), key, isolde.EndCaller, "was stopped by StopRuntimeSession"); err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// sessionID reads the caller's session id; a caller without one gets a fresh
// session, as SDKs do by filling in a UUID.
func sessionID(r *http.Request) (isolde.SessionID, error) {
	id := first(r.Header[HeaderSession])
	if id == "" {
		return isolde.NewSessionID(), nil
	}
	return isolde.ParseSessionID(id)
}

// newRequestID is unique, and no secret.
func newRequestID() string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	var id [36]byte
	hex.Encode(id[:8], b[:4])
	hex.Encode(id[9:13], b[4:6])
	hex.Encode(id[14:18], b[6:8])
	hex.Encode(id[19:23], b[8:10])
	hex.Encode(id[24:], b[10:])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return string(id[:])
}

// passed are the request headers that reach the agent as they came.
var passed = []string{
	"Content-Type", "Accept",
	"X-Amzn-Trace-Id", "Traceparent", "Tracestate", "Baggage",
	"Mcp-Session-Id", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name",
	HeaderUser,
}

// agentHeader makes the headers of the agent's request.
//
// boto3 sends no Content-Type unless asked, the Go and JavaScript SDKs send
// application/octet-stream, and none of them sends Accept; the official
// TypeScript SDK refuses such requests (415, 406). So that default clients
// work with default agents, what the client left open is filled in with what
// every agent takes.
func agentHeader(client http.Header, session isolde.SessionID, request string) http.Header {
	h := make(http.Header, 8)
	for _, name := range passed {
		if v := client[name]; len(v) > 0 {
			h[name] = v
		}
	}
	for name, v := range client {
		if strings.HasPrefix(name, customPrefix) {
			h[name] = v
		}
	}
	if t := first(h["Content-Type"]); t == "" || t == "application/octet-stream" {
		h["Content-Type"] = jsonType
	}
	if first(h["Accept"]) == "" {
		h["Accept"] = anyType
	}
	own := [...]string{string(session), request} // one allocation
	h[HeaderSession] = own[0:1:1]
	h[HeaderAgentRequest] = own[1:2:2]
	h["User-Agent"] = userAgent
	return h
}

// Header values that all requests to agents share; nobody changes them.
var (
	jsonType  = []string{"application/json"}
	anyType   = []string{"application/json, text/event-stream;q=0.9, */*;q=0.8"}
	userAgent = []string{"isolde"}
)

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// kept are the response headers that are the server's own: an agent's values
// for them do not reach the client.
var kept = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Transfer-Encoding": true, "Trailer": true, "Upgrade": true, "Te": true,
	"Date": true, "Server": true,
	// The origin is the server's, shared by all agents and the console.
	"Set-Cookie": true, "Clear-Site-Data": true, "Access-Control-Allow-Origin": true, "Access-Control-Allow-Credentials": true,
	HeaderSession: true, HeaderRequestID: true, "X-Amzn-Errortype": true,
}

func copyHeader(dst, src http.Header) {
	for name, v := range src {
		if !kept[name] {
			dst[name] = v
		}
	}
	for _, v := range src["Connection"] { // names further headers of the hop to the agent
		for name := range strings.SplitSeq(v, ",") {
			dst.Del(strings.TrimSpace(name))
		}
	}
}
