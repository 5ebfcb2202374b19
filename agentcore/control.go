package agentcore

import (
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// operation is one of the control plane: its request and what serves it.
type operation struct {
	name   string // the API's
	method string
	path   string // as in the API's model; it is taken without its last slash too
	status int    // of the answer when nothing is wrong; 204 has no body
	serve  func(*Handler, *call) (any, error)
}

var operations = []operation{
	{"CreateAgentRuntime", http.MethodPut, "/runtimes/", 202, (*Handler).createRuntime},
	{"UpdateAgentRuntime", http.MethodPut, "/runtimes/{id}/", 202, (*Handler).updateRuntime},
	{"GetAgentRuntime", http.MethodGet, "/runtimes/{id}/", 200, (*Handler).getRuntime},
	{"ListAgentRuntimes", http.MethodPost, "/runtimes/", 200, (*Handler).listRuntimes},
	{"DeleteAgentRuntime", http.MethodDelete, "/runtimes/{id}/", 202, (*Handler).deleteRuntime},
	{"ListAgentRuntimeVersions", http.MethodPost, "/runtimes/{id}/versions/", 200, (*Handler).listVersions},

	{"CreateAgentRuntimeEndpoint", http.MethodPut, "/runtimes/{id}/runtime-endpoints/", 202, (*Handler).createEndpoint},
	{"UpdateAgentRuntimeEndpoint", http.MethodPut, "/runtimes/{id}/runtime-endpoints/{name}/", 202, (*Handler).updateEndpoint},
	{"GetAgentRuntimeEndpoint", http.MethodGet, "/runtimes/{id}/runtime-endpoints/{name}/", 200, (*Handler).getEndpoint},
	{"ListAgentRuntimeEndpoints", http.MethodPost, "/runtimes/{id}/runtime-endpoints/", 200, (*Handler).listEndpoints},
	{"DeleteAgentRuntimeEndpoint", http.MethodDelete, "/runtimes/{id}/runtime-endpoints/{name}/", 202, (*Handler).deleteEndpoint},

	{"TagResource", http.MethodPost, "/tags/{arn...}", 204, (*Handler).tagResource},
	{"UntagResource", http.MethodDelete, "/tags/{arn...}", 204, (*Handler).untagResource},
	{"ListTagsForResource", http.MethodGet, "/tags/{arn...}", 200, (*Handler).listTags},
	{"PutResourcePolicy", http.MethodPut, "/resourcepolicy/{arn...}", 201, (*Handler).putPolicy},
	{"GetResourcePolicy", http.MethodGet, "/resourcepolicy/{arn...}", 200, (*Handler).getPolicy},
	{"DeleteResourcePolicy", http.MethodDelete, "/resourcepolicy/{arn...}", 204, (*Handler).deletePolicy},

	{"ListAgentRuntimeVersionsByCapacityProvider", http.MethodPost, "/capacity-providers/{id}/runtime-versions", 200, noCapacityProviders},
	{"CreateCapacityProvider", http.MethodPut, "/capacity-providers", 202, noCapacityProviders},
	{"UpdateCapacityProvider", http.MethodPut, "/capacity-providers/{id}", 202, noCapacityProviders},
	{"GetCapacityProvider", http.MethodGet, "/capacity-providers/{id}", 200, noCapacityProviders},
	{"ListCapacityProviders", http.MethodPost, "/capacity-providers", 200, noCapacityProviders},
	{"DeleteCapacityProvider", http.MethodDelete, "/capacity-providers/{id}", 202, noCapacityProviders},
	// Of the data plane, but without capacity providers there is no other place for it.
	{"DeleteCapacityProviderSession", http.MethodDelete, "/capacity-providers/{id}/sessions/{session}", 202, noCapacityProviders},
}

func noCapacityProviders(_ *Handler, c *call) (any, error) {
	return nil, isolde.Errorf(isolde.CodeUnsupported, "%s is not offered: Isolde has no capacity providers, sessions run on the server's machine", c.op.name)
}

// patterns are the operation's for a [http.ServeMux].
func (op *operation) patterns() []string {
	bare := strings.TrimSuffix(op.path, "/")
	switch {
	case strings.HasSuffix(bare, "...}"):
		return []string{op.method + " " + bare}
	case op.name == "GetAgentRuntimeEndpoint":
		// {target}/{resource}/ws of the data plane, with an ARN that is not
		// escaped, could be the endpoint ws; for one of the two to be more
		// specific, this one has to take every resource. See otherResource.
		bare = "/runtimes/{id}/{resource}/{name}"
	}
	return []string{op.method + " " + bare, op.method + " " + strings.TrimSuffix(op.path, "/") + "/{$}"}
}

// otherResource reports whether a request is not for an endpoint although the
// operation's pattern took it.
func otherResource(r *http.Request) bool {
	resource := r.PathValue("resource")
	return resource != "" && resource != "runtime-endpoints"
}

// registerControl adds the control plane's routes.
func (h *Handler) registerControl(mux *http.ServeMux) {
	for i := range operations {
		op := &operations[i]
		for _, pattern := range op.patterns() {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h.control(w, r, op) })
		}
	}
}

// control serves one request of the control plane.
func (h *Handler) control(w http.ResponseWriter, r *http.Request, op *operation) {
	if r.Method != op.method || otherResource(r) { // a pattern for GET takes HEAD as well
		noOperation(w, r)
		return
	}
	request := newRequestID()
	w.Header().Set(HeaderRequestID, request)
	admitted, err := h.allowControl(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	if admitted != nil {
		defer admitted.Close()
		r = admitted.Request(r, false)
	}
	c := &call{Request: r, op: op, w: w, log: h.logger().With("operation", op.name, "request", request)}
	answer, err := c.answer(h)
	switch {
	case err != nil:
		c.logFault(err)
		writeError(w, err)
	case op.status == http.StatusNoContent:
		w.WriteHeader(op.status)
	default:
		writeJSON(w, op.status, answer)
	}
}

func (h *Handler) logger() *slog.Logger {
	if h.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Logger
}

// call is a request of the control plane.
type call struct {
	*http.Request
	op    *operation
	w     http.ResponseWriter
	log   *slog.Logger
	query url.Values
}

func (c *call) answer(h *Handler) (any, error) {
	var err error
	if c.query, err = url.ParseQuery(c.URL.RawQuery); err != nil {
		return nil, isolde.Errorf(isolde.CodeMalformed, "the query string cannot be parsed: %w", err)
	}
	return c.op.serve(h, c)
}

// logFault keeps for the operator what the caller is not told.
func (c *call) logFault(err error) {
	if e := isolde.AsError(err); e.Code == isolde.CodeInternal && c.Context().Err() == nil {
		c.log.Error("operation failed", "err", e, "cause", e.Err)
	}
}

// bodyTimeout is how long a caller may take to send a body, of 1 MiB at most.
const bodyTimeout = 30 * time.Second

// decode reads the body into a shape. The error has all that is wrong with it.
func (c *call) decode(into checker) error {
	rc := http.NewResponseController(c.w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // only a test's writer has none
	data, err := readBody(c.Request)
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		return err
	}
	unknown, err := decode(data, into)
	if len(unknown) > 0 {
		c.log.Warn("request has members that the operation does not know", "members", unknown[:min(len(unknown), 10)])
	}
	return err
}

// runtimeID reads an agent runtime's id from the path. The deletions declare
// no ValidationException: what is no id is not there.
func (c *call) runtimeID() (isolde.RuntimeID, error) {
	s := c.PathValue("id")
	id, err := isolde.ParseRuntimeID(s)
	switch {
	case err == nil:
		return id, nil
	case c.Method == http.MethodDelete:
		return "", isolde.Errorf(isolde.CodeNotFound, "no agent runtime %q", shorten(s))
	}
	return "", invalid("agentRuntimeId", "%q is not of the form <name>-<10 letters or digits>", shorten(s))
}

// endpoint reads an agent runtime's id and an endpoint's name from the path.
func (c *call) endpoint() (isolde.RuntimeID, isolde.EndpointName, error) {
	id, err := c.runtimeID()
	return id, isolde.EndpointName(c.PathValue("name")), err
}

// clientToken is the one of a request without a body.
func (c *call) clientToken() string { return c.query.Get("clientToken") }

// invalid is an error of one field.
func invalid(field, message string, args ...any) error {
	var p isolde.Problems
	p.Add(field, message, args...)
	return p.Err()
}

var versionRE = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)

// parseVersion reads a version's number, which the API writes as a string.
func parseVersion(s string) (isolde.VersionNumber, bool) {
	n, err := strconv.Atoi(s)
	return isolde.VersionNumber(n), err == nil && versionRE.MatchString(s)
}

// checkVersion adds a problem unless s is nil or a version's number.
func checkVersion(p *isolde.Problems, s *string) {
	if s == nil {
		return
	}
	if _, ok := parseVersion(*s); !ok {
		p.Add("agentRuntimeVersion", "%q is not a version's number, such as \"1\"", shorten(*s))
	}
}

// checkName adds a problem unless the name of an agent or an endpoint is valid.
func checkName(p *isolde.Problems, field, name string) {
	if err := isolde.ValidateName("name", name); err != nil {
		p.Add(field, "%s", strings.TrimPrefix(isolde.AsError(err).Message, "name "))
	}
}
