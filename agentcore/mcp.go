package agentcore

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde"
)

const headerMCPSession = "Mcp-Session-Id"

// An MCP client knows one id, Mcp-Session-Id, which it has from the first
// answer and repeats. It must lead to the session here and, at a server that
// keeps sessions of its own (stateful), to the session there. So the id that
// clients get is the session's own if the server gives none (stateless), and
// else both, with the length of the first: "36.<session><the server's>".
// Nothing has to be remembered for it.

// mcpID makes the id that a client gets.
func mcpID(session isolde.SessionID, server string) string {
	if server == "" {
		return string(session)
	}
	return strconv.Itoa(len(session)) + "." + string(session) + server
}

// splitMCPID is the reverse of mcpID. An id that is not made by it is the
// client's own: it stands for a session, and the server gets it as it is.
func splitMCPID(id string) (session, server string) {
	number, both, ok := strings.Cut(id, ".")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || n >= len(both) || strconv.Itoa(n) != number {
		return id, id
	}
	if _, err := isolde.ParseSessionID(both[:n]); err != nil {
		return id, id
	}
	return both[:n], both[n:]
}

// mcpSession is the session that an MCP session id leads to. An id that cannot
// be a session's, such as a short one, leads to one of its own.
func mcpSession(id string) isolde.SessionID {
	name, _ := splitMCPID(id)
	if s, err := isolde.ParseSessionID(name); err == nil {
		return s
	}
	sum := sha256.Sum256([]byte(name))
	return isolde.SessionID("mcp-" + hex.EncodeToString(sum[:]))
}

// mcpHeader completes the headers of a request to an MCP server. The first
// request of a client carries no id to the server either, although AWS adds
// one: a stateful server would refuse an id it does not know.
func (x *exchange) mcpHeader(h, client http.Header) {
	if x.mcp != "" {
		_, server := splitMCPID(x.mcp)
		h[headerMCPSession] = []string{server}
	}
	// The transport demands both types; that a client takes anything
	// (curl's */*) some servers do not take for it.
	if accept := client.Get("Accept"); x.defaults && (accept == "" || accept == "*/*") {
		h["Accept"] = []string{"application/json, text/event-stream"}
	}
}

// mcpAnswer is the id that the client gets, when the server answered with one
// of its own or none.
func (x *exchange) mcpAnswer(server string, session isolde.SessionID) string {
	if server == "" && x.mcp != "" {
		return x.mcp
	}
	if _, known := splitMCPID(x.mcp); x.mcp != "" && server == known {
		return x.mcp
	}
	return mcpID(session, server)
}

// postOnly answers what MCP clients try at a server's address beside POST: to
// listen for notifications (GET) and to end their session (DELETE). 405 tells
// them to go without.
func postOnly(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	w.Header().Set("X-Amzn-ErrorType", isolde.CodeInvalid.Exception())
	writeJSON(w, http.StatusMethodNotAllowed, errorBody{
		Message: "InvokeAgentRuntime is a POST, not a " + r.Method, Reason: isolde.CodeMalformed.Reason(),
	})
}
