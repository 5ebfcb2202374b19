package agentcore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/gateway"
)

// invoke serves InvokeAgentRuntime.
func (h *Handler) invoke(w http.ResponseWriter, r *http.Request) {
	request := newRequestID()
	w.Header().Set(HeaderRequestID, request)
	x := h.exchange(r)
	session, err := x.session(r)
	if err != nil {
		x.writeError(w, err)
		return
	}
	w.Header().Set(HeaderSession, string(session)) // Go's SDK panics without it
	header, err := x.agentHeader(r.Header, session, request)
	if err != nil {
		x.writeError(w, err)
		return
	}
	rc := http.NewResponseController(w)
	body := &requestBody{Reader: r.Body, rc: rc}
	body.ended.Store(r.ContentLength == 0)
	inv := &isolde.Invocation{
		Target:        x.target,
		Qualifier:     isolde.EndpointName(r.URL.Query().Get("qualifier")),
		Session:       session,
		RequestID:     request,
		Method:        http.MethodPost,
		Header:        header,
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
	// A client that does not read must not hold the session.
	stop := context.AfterFunc(resp.Body.Context(), func() { _ = rc.SetWriteDeadline(time.Now().Add(lastWrite)) })
	defer stop()
	copyHeader(w.Header(), resp.Header)
	x.addHeader(w.Header(), session)
	if len(resp.Header["Content-Type"]) == 0 { // or net/http would guess one
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	w.WriteHeader(resp.Status)
	if err := copyBody(w, rc, resp); err != nil {
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

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
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
	t, err := h.Catalog.Resolve(r.Context(), target, isolde.EndpointName(r.URL.Query().Get("qualifier")))
	if err != nil {
		writeError(w, err)
		return
	}
	key := isolde.SessionKey{Runtime: t.Runtime.ID, Session: session}
	if err := h.Sessions.Stop(r.Context(), key, "was stopped by StopRuntimeSession"); err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// sessionID reads the caller's session id; a caller without one gets a fresh
// session, as SDKs do by filling in a UUID.
func sessionID(r *http.Request) (isolde.SessionID, error) {
	id := r.Header.Get(HeaderSession)
	if id == "" {
		return isolde.NewSessionID(), nil
	}
	return isolde.ParseSessionID(id)
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
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
	if t := h.Get("Content-Type"); t == "" || t == "application/octet-stream" {
		h["Content-Type"] = []string{"application/json"}
	}
	if h.Get("Accept") == "" {
		h["Accept"] = []string{"application/json, text/event-stream;q=0.9, */*;q=0.8"}
	}
	h[HeaderSession] = []string{string(session)}
	h[HeaderAgentRequest] = []string{request}
	h["User-Agent"] = []string{"isolde"}
	return h
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

// The sizes answers are copied by, measured in bench/ Bulk: the larger one
// where no part has to be passed on at once.
const (
	streamBuffer = 64 << 10
	bulkBuffer   = 256 << 10
)

var buffers = sync.Pool{New: func() any { return new([bulkBuffer]byte) }}

// copyBody passes the answer on as it arrives; a part of a stream is flushed
// at once.
func copyBody(w io.Writer, rc *http.ResponseController, resp *gateway.Response) error {
	pooled := buffers.Get().(*[bulkBuffer]byte)
	defer buffers.Put(pooled)
	buf := pooled[:]
	flush := resp.Streams()
	if flush {
		buf = buf[:streamBuffer]
		if err := rc.Flush(); err != nil { // the header, before the first part
			return err
		}
	}
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if flush {
				if err := rc.Flush(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
