// Package agentcore speaks the Amazon Bedrock AgentCore Runtime API: the data
// plane (bedrock-agentcore, API version 2024-02-28) and what the control plane
// (bedrock-agentcore-control, 2023-06-05) has for agent runtimes, their
// versions and endpoints, tags and resource policies. Paths, headers, statuses,
// shapes and error names are those of AWS's models, so that any AWS SDK calls
// it with its endpoint changed. docs/COMPATIBILITY.md lists the operations and
// their fields; a test of this package writes it.
//
// The control plane checks a whole request before it does anything, and its
// ValidationException names every field at fault. Members that an operation
// does not know are ignored, as AWS does, and logged.
//
// Agent runtimes with a JWT authorizer ask for its tokens, and everything else
// for a signature with a key of the server, if the server has keys; see
// [Handler.Gate].
package agentcore

import (
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/gate"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/gateway"
	"github.com/isolde-run/isolde/session"
)

// The headers of the data plane, from the service model.
const (
	HeaderSession   = "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id" // in Go's canonical form
	HeaderUser      = "X-Amzn-Bedrock-Agentcore-Runtime-User-Id"
	HeaderRequestID = "X-Amzn-Requestid"
	HeaderShell     = "X-Amzn-Bedrock-Agentcore-Shell-Id"
	// HeaderAgentRequest carries the request id to the agent, from the
	// official Python SDK.
	HeaderAgentRequest = "X-Amzn-Bedrock-Agentcore-Runtime-Request-Id"
	// customPrefix marks headers that reach the agent as they are.
	customPrefix = "X-Amzn-Bedrock-Agentcore-Runtime-Custom-"
)

// Store is what the control plane reads, and the tags and policies it keeps.
// Everything else changes through the catalog.
type Store interface {
	isolde.RuntimeReader
	isolde.ResourceStore
}

// Handler serves both planes. All fields but Gate, Binding and Logger are
// required.
type Handler struct {
	Gateway  *gateway.Gateway
	Catalog  *catalog.Catalog
	Sessions *session.Manager
	Store    Store
	Locality isolde.Locality
	Tokens   *jwt.Verifier // checks the tokens of runtimes with an authorizer
	Gate     *gate.Gate    // asks for a key; nil: nobody is asked
	Binding  Binding       // empty: BindJWT
	Logger   *slog.Logger  // of the control plane's faults; nil: none

	// NoContentDefaults passes Content-Type and Accept to agents as the client
	// sent or did not send them; see agentHeader for what is done otherwise.
	NoContentDefaults bool
}

// Register adds the API's routes to a mux. The routes match the escaped path,
// as SDKs send an ARN as one escaped segment; the unescaped form, whose ARN
// spans two, is accepted as well.
func (h *Handler) Register(mux *http.ServeMux) {
	for _, target := range []string{"/runtimes/{target}", "/runtimes/{target}/{resource}"} {
		mux.HandleFunc("POST "+target+"/invocations", h.allow(auth.Invoke, h.invoke))
		mux.HandleFunc("POST "+target+"/invocations/{$}", h.allow(auth.Invoke, h.invoke)) // A2A clients have it so from their documentation
		mux.HandleFunc("POST "+target+"/stopruntimesession", h.allow(auth.Invoke, h.stopSession))
		mux.HandleFunc("POST "+target+"/commands", h.allow(auth.Command, h.command))
		mux.HandleFunc("GET "+target+"/ws", h.allow(auth.Invoke, h.webSocket))
		mux.HandleFunc("GET "+target+"/invocations/.well-known/oauth-protected-resource", h.resourceMetadata)
		mux.HandleFunc("GET "+target+"/ws/shells", h.allow(auth.Command, h.shells))
		mux.HandleFunc("GET "+target+"/invocations/.well-known/agent-card.json", h.allow(auth.Invoke, h.getAgentCard))
	}
	h.registerControl(mux)
	mux.HandleFunc("/", noOperation)
}

// Strict answers the API's paths with empty or dot segments, such as that of
// an empty id, in the API's form. A [http.ServeMux] in next would redirect them,
// to another operation even, and SDKs show that as an error without a message.
func Strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		if clean := path.Clean(escaped); clean != strings.TrimSuffix(escaped, "/") && clean != "/" && ofAPI(escaped) {
			noOperation(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func ofAPI(path string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	return slices.Contains([]string{"runtimes", "tags", "resourcepolicy", "capacity-providers"}, first)
}

// target reads the agent runtime from the path: an ARN of this server, an id,
// or, which AWS does not have, a name.
func (h *Handler) target(r *http.Request) (string, error) { return h.parseTarget(pathTarget(r)) }

func pathTarget(r *http.Request) string {
	t := r.PathValue("target")
	if res := r.PathValue("resource"); res != "" {
		t += "/" + res
	}
	return t
}

func (h *Handler) parseTarget(t string) (string, error) {
	if !strings.HasPrefix(t, "arn:") {
		if strings.Contains(t, "/") {
			return "", isolde.Errorf(isolde.CodeInvalid, "agent runtime %q is neither an ARN nor an id", t)
		}
		return t, nil
	}
	parts := strings.SplitN(t, ":", 6)
	if len(parts) != 6 || parts[2] != "bedrock-agentcore" || !strings.HasPrefix(parts[5], "runtime/") {
		return "", isolde.Errorf(isolde.CodeInvalid, "%q is not the ARN of an agent runtime", t).
			WithHint("it reads like %s", h.Locality.RuntimeARN("my_agent-0123456789"))
	}
	if parts[3] != h.Locality.Region || parts[4] != h.Locality.Account {
		return "", isolde.Errorf(isolde.CodeNotFound, "no agent runtime %s: this server's ARNs have region %s and account %s", t, h.Locality.Region, h.Locality.Account).
			WithHint("isolde agent ls lists its agent runtimes")
	}
	id, err := isolde.ParseRuntimeID(strings.TrimPrefix(parts[5], "runtime/"))
	return string(id), err
}
