package agentcore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
)

// exchange is one invocation as the agent's protocol has it: whose session it
// is, which headers reach the agent and come back, and how errors read. The
// payloads are the same to all of them: bytes.
type exchange struct {
	target   string // id or name of the agent runtime
	spec     *isolde.VersionSpec
	defaults bool   // fill in what the client left open; see agentHeader
	err      error  // why there is no target; session returns it
	mcp      string // the MCP session id that the client sent
	rpcID    json.RawMessage
}

// noSpec stands for a target that is not known: errors are those of HTTP.
var noSpec = &isolde.VersionSpec{}

// exchange finds out what the target of an invocation speaks. That the target
// does not exist is left for the gateway to say.
func (h *Handler) exchange(r *http.Request) exchange {
	x := exchange{spec: noSpec, defaults: !h.NoContentDefaults}
	if x.target, x.err = h.target(r); x.err != nil {
		return x
	}
	var t *catalog.Target
	var err error
	if qualifier := qualifier(r); qualifier != "" {
		t, err = h.Catalog.Resolve(r.Context(), x.target, qualifier)
	}
	if t == nil { // an endpoint that there is not: its error has the form that DEFAULT's would have
		t, err = h.Catalog.Resolve(r.Context(), x.target, "")
	}
	if err == nil {
		x.spec = &t.Version.Spec
	}
	return x
}

func qualifier(r *http.Request) isolde.EndpointName {
	if r.URL.RawQuery == "" {
		return ""
	}
	return isolde.EndpointName(r.URL.Query().Get("qualifier"))
}

// session says which session a request is of. Call it first: it takes from
// the request what the error of a JSON-RPC call must name.
func (x *exchange) session(r *http.Request) (isolde.SessionID, error) {
	if x.err != nil {
		return "", x.err
	}
	switch x.spec.Protocol {
	case isolde.ProtocolMCP, isolde.ProtocolA2A:
		if err := x.readID(r); err != nil {
			return "", err
		}
	}
	if x.spec.Protocol == isolde.ProtocolMCP {
		x.mcp = r.Header.Get(headerMCPSession)
		if x.mcp != "" && r.Header.Get(HeaderSession) == "" {
			return mcpSession(x.mcp), nil
		}
	}
	return sessionID(r)
}

// maxCall bounds the JSON-RPC calls whose errors name the call, in bytes.
// Larger ones and those without a length pass unread.
const maxCall = 64 << 10

// readID reads a small JSON-RPC call ahead and puts it back. Clients take an
// error with status 200 for the answer to a call only if it has the call's id.
func (x *exchange) readID(r *http.Request) error {
	if r.ContentLength <= 0 || r.ContentLength > maxCall {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		if _, ok := errors.AsType[*isolde.Error](err); ok { // of who checks the payload's signature
			return err
		}
		return isolde.Errorf(isolde.CodeMalformed, "the payload ends before its %d bytes: %w", r.ContentLength, err)
	}
	x.rpcID = callID(body)
	r.Body = &replayed{rest: body, Closer: r.Body}
	return nil
}

// callID is the id of a JSON-RPC call as it stands there, nil if there is none.
func callID(body []byte) json.RawMessage {
	var call struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(body, &call) != nil || len(call.ID) == 0 {
		return nil
	}
	switch c := call.ID[0]; {
	case c == '"', c == '-', '0' <= c && c <= '9':
		return call.ID
	default:
		return nil
	}
}

// replayed is a body that was read ahead.
type replayed struct {
	rest []byte
	io.Closer
}

func (b *replayed) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if len(b.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// agentHeader makes the headers of the agent's request: those of the API, what
// the version's allow-list names, and what the protocol needs.
func (x *exchange) agentHeader(client http.Header, session isolde.SessionID, request string) (http.Header, error) {
	h := agentHeader(client, session, request)
	if !x.defaults {
		restore(h, client, "Content-Type")
		restore(h, client, "Accept")
	}
	for _, name := range x.spec.RequestHeaders {
		name = http.CanonicalHeaderKey(name)
		if name == "Authorization" && x.spec.Authorizer == nil {
			continue // it is the caller's signature
		}
		if v := client[name]; len(v) > 0 {
			h[name] = v
			if err := checkValues(name, v); err != nil {
				return nil, err
			}
		}
	}
	switch x.spec.Protocol {
	case isolde.ProtocolMCP:
		x.mcpHeader(h, client)
	case isolde.ProtocolA2A:
		for name, v := range client {
			if strings.HasPrefix(name, "A2a-") || strings.HasPrefix(name, "X-A2a-") { // version and extensions of the protocol
				h[name] = v
			}
		}
	}
	return h, nil
}

func restore(h, client http.Header, name string) {
	if v := client[name]; len(v) > 0 {
		h[name] = v
	} else {
		delete(h, name)
	}
}

// checkValues refuses values of an allow-listed header that are too long.
func checkValues(name string, values []string) error {
	for _, v := range values {
		if len(v) > isolde.MaxRequestHeaderValue {
			e := isolde.Errorf(isolde.CodeInvalid, "header %s has %d bytes; at most %d are allowed", name, len(v), isolde.MaxRequestHeaderValue)
			e.Fields = []isolde.Field{{Name: name, Message: fmt.Sprintf("has %d bytes", len(v))}}
			return e
		}
	}
	return nil
}

// addHeader adds to the headers of an agent's answer what the client of the
// protocol needs beside them.
func (x *exchange) addHeader(h http.Header, session isolde.SessionID) {
	if x.spec.Protocol == isolde.ProtocolMCP {
		h.Set(headerMCPSession, x.mcpAnswer(h.Get(headerMCPSession), session))
	}
}
