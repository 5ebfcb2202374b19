package agentcore

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/isolde-run/isolde"
)

// registerControl adds the control plane's routes. What is not here yet
// (Create, Update, endpoints of one's own, tags, policies) answers that it is
// not offered; isolde deploy creates and updates.
func (h *Handler) registerControl(mux *http.ServeMux) {
	handle := func(pattern string, status int, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(HeaderRequestID, newRequestID())
			v, err := f(r)
			if err != nil {
				writeError(w, err)
				return
			}
			writeJSON(w, status, v)
		})
	}
	handle("POST /runtimes/{$}", http.StatusOK, h.listRuntimes)
	handle("GET /runtimes/{id}/{$}", http.StatusOK, h.getRuntime)
	handle("DELETE /runtimes/{id}/{$}", http.StatusAccepted, h.deleteRuntime)
	handle("POST /runtimes/{id}/versions/{$}", http.StatusOK, h.listVersions)
	handle("POST /runtimes/{id}/runtime-endpoints/{$}", http.StatusOK, h.listEndpoints)
	handle("GET /runtimes/{id}/runtime-endpoints/{name}/{$}", http.StatusOK, h.getEndpoint)
	for pattern, operation := range map[string]string{
		"PUT /runtimes/{$}":                                  "CreateAgentRuntime",
		"PUT /runtimes/{id}/{$}":                             "UpdateAgentRuntime",
		"PUT /runtimes/{id}/runtime-endpoints/{$}":           "CreateAgentRuntimeEndpoint",
		"PUT /runtimes/{id}/runtime-endpoints/{name}/{$}":    "UpdateAgentRuntimeEndpoint",
		"DELETE /runtimes/{id}/runtime-endpoints/{name}/{$}": "DeleteAgentRuntimeEndpoint",
		"POST /capacity-providers/{id}/runtime-versions":     "ListAgentRuntimeVersionsByCapacityProvider",
		"DELETE /capacity-providers/{id}/sessions/{session}": "DeleteCapacityProviderSession",
		"/tags/{arn...}":                                     "Tags",
		"/resourcepolicy/{arn...}":                           "Resource policies",
	} {
		mux.HandleFunc(pattern, notOffered(operation))
	}
}

// timestamp is a time as the control plane writes it: ISO 8601 in UTC.
type timestamp time.Time

func (t timestamp) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05.000000Z")), nil
}

type runtimeSummary struct {
	ARN           string               `json:"agentRuntimeArn"`
	ID            isolde.RuntimeID     `json:"agentRuntimeId"`
	Name          string               `json:"agentRuntimeName"`
	Version       isolde.VersionNumber `json:"agentRuntimeVersion,string"`
	Description   string               `json:"description"`
	LastUpdatedAt timestamp            `json:"lastUpdatedAt"`
	Status        isolde.Status        `json:"status"`
}

type runtimePage struct {
	Runtimes  []runtimeSummary `json:"agentRuntimes"`
	NextToken string           `json:"nextToken,omitempty"`
}

func (h *Handler) listRuntimes(r *http.Request) (any, error) {
	limit, after, err := page(r)
	if err != nil {
		return nil, err
	}
	rs, err := h.Store.Runtimes(r.Context(), after, limit+1)
	if err != nil {
		return nil, err
	}
	out := runtimePage{Runtimes: []runtimeSummary{}}
	for i, a := range rs {
		if i == limit {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(rs[i-1].Name))
			break
		}
		out.Runtimes = append(out.Runtimes, h.summary(a, a.Latest, "", a.Status, a.UpdatedAt))
	}
	return out, nil
}

func (h *Handler) summary(a isolde.AgentRuntime, n isolde.VersionNumber, description string, s isolde.Status, at time.Time) runtimeSummary {
	return runtimeSummary{
		ARN: h.Locality.RuntimeARN(a.ID), ID: a.ID, Name: a.Name, Version: n,
		Description: description, LastUpdatedAt: timestamp(at), Status: s,
	}
}

// maxPage is the most a list operation returns, and what it returns unasked.
const maxPage = 100

func page(r *http.Request) (limit int, after string, err error) {
	limit = maxPage
	if s := r.URL.Query().Get("maxResults"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return 0, "", isolde.Errorf(isolde.CodeInvalid, "maxResults %q must be a number from 1 to %d", s, maxPage)
		}
	}
	if t := r.URL.Query().Get("nextToken"); t != "" {
		b, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return 0, "", isolde.Errorf(isolde.CodeInvalid, "nextToken %q is not one of this server's", t)
		}
		after = string(b)
	}
	return limit, after, nil
}

type runtimeDetail struct {
	ARN         string               `json:"agentRuntimeArn"`
	ID          isolde.RuntimeID     `json:"agentRuntimeId"`
	Name        string               `json:"agentRuntimeName"`
	Version     isolde.VersionNumber `json:"agentRuntimeVersion,string"`
	Artifact    any                  `json:"agentRuntimeArtifact"`
	RoleARN     string               `json:"roleArn"`
	Network     any                  `json:"networkConfiguration"`
	Protocol    any                  `json:"protocolConfiguration"`
	Lifecycle   isolde.Lifecycle     `json:"lifecycleConfiguration"`
	Environment map[string]string    `json:"environmentVariables,omitempty"`
	Description string               `json:"description,omitempty"`
	Failure     string               `json:"failureReason,omitempty"`
	Status      isolde.Status        `json:"status"`
	CreatedAt   timestamp            `json:"createdAt"`
	UpdatedAt   timestamp            `json:"lastUpdatedAt"`
}

func (h *Handler) getRuntime(r *http.Request) (any, error) {
	a, versions, err := h.runtime(r)
	if err != nil {
		return nil, err
	}
	v := versions[0]
	if want := r.URL.Query().Get("version"); want != "" {
		if v, err = findVersion(a, versions, want); err != nil {
			return nil, err
		}
	}
	protocol := v.Spec.Protocol
	if protocol == "" {
		protocol = isolde.ProtocolHTTP
	}
	return runtimeDetail{
		ARN: h.Locality.RuntimeARN(a.ID), ID: a.ID, Name: a.Name, Version: v.Number,
		Artifact:  map[string]any{"containerConfiguration": map[string]string{"containerUri": a.Name + "@" + v.Image}},
		RoleARN:   "arn:aws:iam::" + h.Locality.Account + ":role/isolde",
		Network:   map[string]string{"networkMode": "PUBLIC"},
		Protocol:  map[string]any{"serverProtocol": protocol},
		Lifecycle: v.Spec.Lifecycle.WithDefaults(), Environment: v.Spec.Environment, Description: v.Spec.Description,
		Failure: v.FailureReason, Status: v.Status, CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(v.CreatedAt),
	}, nil
}

func findVersion(a isolde.AgentRuntime, versions []isolde.Version, want string) (isolde.Version, error) {
	for _, v := range versions {
		if v.Number.String() == want {
			return v, nil
		}
	}
	return isolde.Version{}, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s has no version %q", a.ID, want)
}

func (h *Handler) runtime(r *http.Request) (isolde.AgentRuntime, []isolde.Version, error) {
	id, err := isolde.ParseRuntimeID(r.PathValue("id"))
	if err != nil {
		return isolde.AgentRuntime{}, nil, err
	}
	a, err := h.Store.Runtime(r.Context(), string(id))
	if err != nil {
		return a, nil, err
	}
	versions, err := h.Store.Versions(r.Context(), a.ID)
	if err == nil && len(versions) == 0 { // deleted in between
		err = isolde.Errorf(isolde.CodeNotFound, "no agent runtime %q", a.ID)
	}
	return a, versions, err
}

func (h *Handler) deleteRuntime(r *http.Request) (any, error) {
	id, err := isolde.ParseRuntimeID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if v := r.URL.Query().Get("version"); v != "" {
		return nil, isolde.Errorf(isolde.CodeUnsupported, "deleting one version (%q) is not offered yet", v).
			WithHint("without version the whole agent runtime is deleted")
	}
	if _, err := h.Catalog.Delete(r.Context(), string(id)); err != nil {
		return nil, err
	}
	return map[string]any{"agentRuntimeId": id, "status": isolde.StatusDeleting}, nil
}

func (h *Handler) listVersions(r *http.Request) (any, error) {
	a, versions, err := h.runtime(r)
	if err != nil {
		return nil, err
	}
	out := runtimePage{Runtimes: []runtimeSummary{}}
	for _, v := range versions {
		out.Runtimes = append(out.Runtimes, h.summary(a, v.Number, v.Spec.Description, v.Status, v.CreatedAt))
	}
	return out, nil
}

type endpointDetail struct {
	RuntimeARN  string              `json:"agentRuntimeArn"`
	ARN         string              `json:"agentRuntimeEndpointArn"`
	ID          isolde.EndpointName `json:"id"`
	Name        isolde.EndpointName `json:"name"`
	LiveVersion string              `json:"liveVersion,omitempty"`
	Target      string              `json:"targetVersion,omitempty"`
	Status      isolde.Status       `json:"status"`
	CreatedAt   timestamp           `json:"createdAt"`
	UpdatedAt   timestamp           `json:"lastUpdatedAt"`
}

func (h *Handler) endpoints(r *http.Request) ([]endpointDetail, error) {
	a, _, err := h.runtime(r)
	if err != nil {
		return nil, err
	}
	es, err := h.Store.Endpoints(r.Context(), a.ID)
	if err != nil {
		return nil, err
	}
	out := make([]endpointDetail, len(es))
	for i, e := range es {
		out[i] = endpointDetail{
			RuntimeARN: h.Locality.RuntimeARN(a.ID), ARN: h.Locality.EndpointARN(a.ID, e.Name), ID: e.Name, Name: e.Name,
			LiveVersion: e.Version.String(), Target: e.Version.String(),
			Status: e.Status, CreatedAt: timestamp(e.CreatedAt), UpdatedAt: timestamp(e.UpdatedAt),
		}
	}
	return out, nil
}

func (h *Handler) listEndpoints(r *http.Request) (any, error) {
	es, err := h.endpoints(r)
	return map[string]any{"runtimeEndpoints": es}, err
}

func (h *Handler) getEndpoint(r *http.Request) (any, error) {
	es, err := h.endpoints(r)
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		if string(e.Name) == r.PathValue("name") {
			return e, nil
		}
	}
	return nil, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s has no endpoint %q", r.PathValue("id"), r.PathValue("name"))
}
