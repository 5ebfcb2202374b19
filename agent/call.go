package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
)

// The headers of the contract, in Go's canonical form.
const (
	headerSession  = "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id"
	headerRequest  = "X-Amzn-Bedrock-Agentcore-Runtime-Request-Id"
	headerUser     = "X-Amzn-Bedrock-Agentcore-Runtime-User-Id"
	headerIdentity = "X-Amz-Bedrock-Agentcore-Identity-Wat"
	headerToken    = "Workloadaccesstoken"
	headerCallback = "Oauth2callbackurl"
)

// Call is what an invocation or a WebSocket brings besides its payload.
type Call struct {
	// SessionID is the session's. One process serves one session, so it is the
	// same in every call; it is empty if the agent is called without a runtime.
	SessionID string
	// RequestID is the runtime's, or else one made up for this call.
	RequestID string
	// UserID is whom the caller of the API named as its user, or empty.
	UserID string
	// WorkloadToken is the agent's access token for AgentCore Identity, on
	// behalf of the user, or empty.
	WorkloadToken string
	// OAuth2CallbackURL is where a user's consent comes back to, or empty.
	OAuth2CallbackURL string
	// Header has the headers that are meant for the agent: Authorization,
	// X-Amzn-Bedrock-AgentCore-Runtime-Custom-*, and those that the runtime
	// was told to let through. What concerns the connection is not in it.
	Header http.Header

	app *App // nil in a test
}

type callKey struct{}

// FromContext returns the call that ctx belongs to: in a handler, in what it
// calls and in the goroutines it starts. Without one it returns the zero Call.
func FromContext(ctx context.Context) Call {
	call, _ := ctx.Value(callKey{}).(Call)
	return call
}

// NewContext returns a ctx that belongs to the call, for tests of handlers.
func NewContext(ctx context.Context, call Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// Call reads the headers of a request, for handlers of [App.Routes] that lose its context.
func (a *App) Call(h http.Header) Call {
	call := Call{
		SessionID:         h.Get(headerSession),
		RequestID:         h.Get(headerRequest),
		UserID:            h.Get(headerUser),
		WorkloadToken:     h.Get(headerIdentity),
		OAuth2CallbackURL: h.Get(headerCallback),
		Header:            forwarded(h),
		app:               a,
	}
	if call.RequestID == "" {
		call.RequestID = newID()
	}
	if call.WorkloadToken == "" {
		call.WorkloadToken = h.Get(headerToken)
	}
	return call
}

// newID is a random UUID. Its bytes come from the kernel, as math/rand repeats
// itself in processes that were restored from one snapshot.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
