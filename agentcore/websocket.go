package agentcore

import (
	"bufio"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/ws"
)

// webSocket serves InvokeAgentRuntimeWithWebSocketStream. What goes wrong
// before the handshake is over is an ordinary HTTP error.
func (h *Handler) webSocket(w http.ResponseWriter, r *http.Request) {
	request := newRequestID()
	w.Header().Set(HeaderRequestID, request)
	inv, key, err := h.upgrade(r, request)
	if err != nil {
		w.Header().Set("Sec-Websocket-Version", "13")
		writeError(w, err)
		return
	}
	w.Header().Set(HeaderSession, string(inv.Session))
	socket, err := h.Gateway.Connect(r.Context(), inv)
	if err != nil {
		writeError(w, err)
		return
	}
	answer := w.Header().Clone()
	copyHeader(answer, socket.Header)
	maps.DeleteFunc(answer, func(name string, _ []string) bool { return strings.HasPrefix(name, "Sec-Websocket-") })
	delete(answer, "Content-Length")
	answer["Connection"], answer["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	answer["Sec-WebSocket-Accept"] = []string{ws.Accept(key)}
	// The one subprotocol that AgentCore answers, by which browsers send tokens.
	if slices.Contains(ws.Protocols(r.Header), jwt.Subprotocol) {
		answer["Sec-WebSocket-Protocol"] = []string{jwt.Subprotocol}
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, which has another handshake
		socket.Close()
		writeError(w, isolde.Errorf(isolde.CodeInvalid, "a WebSocket needs HTTP/1.1, not %s", r.Proto).WithCause(err))
		return
	}
	if err := writeSwitch(buffered.Writer, answer); err != nil {
		socket.Close()
		conn.Close()
		return
	}
	socket.Relay(conn, buffered.Reader)
}

func writeSwitch(w *bufio.Writer, h http.Header) error {
	if _, err := w.WriteString("HTTP/1.1 101 Switching Protocols\r\n"); err != nil {
		return err
	}
	if err := h.Write(w); err != nil {
		return err
	}
	if _, err := w.WriteString("\r\n"); err != nil {
		return err
	}
	return w.Flush()
}

// upgrade reads a request for a WebSocket: what the agent is to get, and the
// client's Sec-WebSocket-Key.
func (h *Handler) upgrade(r *http.Request, request string) (*isolde.Invocation, string, error) {
	key, err := ws.Key(r)
	if err != nil {
		return nil, "", err
	}
	header, err := socketHeader(r)
	if err != nil {
		return nil, "", err
	}
	r = r.Clone(r.Context())
	r.Header = header
	session, err := sessionID(r)
	if err != nil {
		return nil, "", err
	}
	x := h.exchange(r)
	if x.err != nil {
		return nil, "", x.err
	}
	passed, err := x.agentHeader(header, session, request)
	if err != nil {
		return nil, "", err
	}
	delete(passed, "Content-Type") // the handshake has no content
	delete(passed, "Accept")
	return &isolde.Invocation{
		Target:    x.target,
		Qualifier: qualifier(r),
		Session:   session,
		RequestID: request,
		User:      first(header[HeaderUser]),
		Header:    passed,
	}, key, nil
}

// maxQueryHeader bounds a header that comes as a query parameter, in bytes.
const maxQueryHeader = isolde.MaxRequestHeaderValue

// socketHeader is the request's header with what clients that cannot set
// headers say in the query in its place: the session id, and the headers that
// are passed to the agent as they are. Case makes no difference in a header's
// name; a header wins over a parameter.
func socketHeader(r *http.Request) (http.Header, error) {
	h := r.Header.Clone()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeMalformed, "the query cannot be parsed: %w", err)
	}
	for param, values := range query {
		name := http.CanonicalHeaderKey(param)
		if name != HeaderSession && !strings.HasPrefix(name, customPrefix) || len(r.Header[name]) > 0 {
			continue
		}
		for _, v := range values {
			if len(v) > maxQueryHeader {
				return nil, isolde.Errorf(isolde.CodeInvalid, "query parameter %s has %d bytes; at most %d are allowed", shorten(param), len(v), maxQueryHeader)
			}
			if !isHeaderName(name) || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7F }) {
				return nil, isolde.Errorf(isolde.CodeInvalid, "query parameter %s cannot be a header: it has characters that no header may have", shorten(param))
			}
		}
		h[name] = values
	}
	return h, nil
}

// isHeaderName reports whether a name is a token of RFC 9110.
func isHeaderName(s string) bool {
	const tokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(tokens, c) })
}
