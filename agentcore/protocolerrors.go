package agentcore

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/gateway"
)

// forms says how an error reads in each protocol, by the HTTP status of its
// code (and so of its exception), from AWS's protocol contracts. The error's
// form over HTTP is writeError's.
var forms = map[int]struct{ mcp, a2a, agui form }{
	http.StatusBadRequest:          {mcp: form{400, -32006, ""}, a2a: form{400, -32052, ""}, agui: form{400, 0, "VALIDATION_ERROR"}},
	http.StatusUnauthorized:        {mcp: form{401, -32001, ""}, a2a: plain, agui: form{401, 0, "UNAUTHORIZED"}},
	http.StatusPaymentRequired:     {mcp: form{200, -32003, ""}, a2a: form{429, -32053, ""}, agui: form{429, 0, "SERVICE_QUOTA_EXCEEDED"}},
	http.StatusForbidden:           {mcp: form{403, -32002, ""}, a2a: plain, agui: form{403, 0, "ACCESS_DENIED"}},
	http.StatusNotFound:            {mcp: form{404, -32004, ""}, a2a: form{404, -32051, ""}, agui: form{404, 0, "RESOURCE_NOT_FOUND"}}, // AG-UI's is our own
	http.StatusNotAcceptable:       {mcp: form{406, -32011, ""}, a2a: form{424, -32055, ""}, agui: form{200, 0, "AGENT_ERROR"}},
	http.StatusConflict:            {mcp: form{409, -32005, ""}, a2a: form{409, -32054, ""}, agui: form{409, 0, "SESSION_BUSY"}},
	http.StatusFailedDependency:    {mcp: form{424, -32010, ""}, a2a: form{424, -32055, ""}, agui: form{200, 0, "AGENT_ERROR"}},
	http.StatusTooManyRequests:     {mcp: form{200, -32003, ""}, a2a: form{429, -32053, ""}, agui: form{429, 0, "RATE_LIMIT_EXCEEDED"}},
	http.StatusInternalServerError: {mcp: form{200, -32603, ""}, a2a: form{500, -32603, ""}, agui: form{500, 0, "INTERNAL_ERROR"}},
}

// form is an error's HTTP status, and its JSON-RPC code or RUN_ERROR code.
type form struct {
	status int
	rpc    int
	run    string
}

// plain is the form of the API itself, as over HTTP.
var plain = form{}

// writeError answers with an error in the form of the agent's protocol. The
// headers are those of the API in all of them, so that AWS's SDKs, which can
// call such an agent as well, know the exception.
func (x *exchange) writeError(w http.ResponseWriter, err error) {
	e := isolde.AsError(err)
	all, ok := forms[x.status(e)]
	if !ok {
		all = forms[http.StatusInternalServerError]
	}
	var f form
	switch x.spec.Protocol {
	case isolde.ProtocolMCP:
		f = all.mcp
	case isolde.ProtocolA2A:
		f = all.a2a
	case isolde.ProtocolAGUI:
		f = all.agui
	}
	if f == plain {
		writeError(w, err)
		return
	}
	nameError(w, e)
	if f.run != "" {
		writeRunError(w, f, e)
		return
	}
	var answer rpcError
	answer.Version, answer.ID = "2.0", x.rpcID
	answer.Error.Code, answer.Error.Message = f.rpc, e.Error()
	writeJSON(w, f.status, answer)
}

// status is the HTTP status of an error's code, or of what an MCP server said
// with a status that the protocol gives a meaning: 404 ends the client's
// session with it, so that the client begins another.
func (x *exchange) status(e *isolde.Error) int {
	if r, ok := errors.AsType[*gateway.Refusal](e); ok && x.spec.Protocol == isolde.ProtocolMCP {
		if r.Status == http.StatusNotFound && x.mcp != "" || r.Status == http.StatusNotAcceptable {
			return r.Status
		}
	}
	return e.Code.HTTPStatus()
}

// rpcError is the answer to a JSON-RPC call that failed.
type rpcError struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // null if the call is not known
	Error   struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// writeRunError answers an AG-UI client, which reads a stream of events.
func writeRunError(w http.ResponseWriter, f form, e *isolde.Error) {
	event, err := json.Marshal(struct {
		Type    string `json:"type"`
		Message string `json:"message"`
		Code    string `json:"code"`
	}{"RUN_ERROR", e.Error(), f.run})
	if err != nil {
		panic(err) // strings only
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(f.status)
	_, _ = w.Write(append(append([]byte("data: "), event...), "\n\n"...))
}
