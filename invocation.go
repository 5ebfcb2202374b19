package isolde

import (
	"io"
	"net/http"
)

// Invocation is one request in a session, freed of the wire it came on.
type Invocation struct {
	Target    string       // id or name of the agent runtime
	Qualifier EndpointName // empty: DefaultEndpoint
	Session   SessionID
	RequestID string
	User      string // the caller's word for who it is; empty: none

	Method        string      // to the agent
	Path          string      // to the agent; empty: where its version takes invocations
	Header        http.Header // to the agent, complete
	Body          io.Reader   // nil: none
	ContentLength int64       // -1: unknown
}

// MaxPayload bounds the body of a request, in bytes: the AgentCore model's
// maximum for InvokeAgentRuntime's payload.
const MaxPayload = 100_000_000
