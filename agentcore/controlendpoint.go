package agentcore

import (
	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
)

type createEndpointRequest struct {
	Name        string            `json:"name"`
	Version     *string           `json:"agentRuntimeVersion,omitempty"` // nil: the newest
	Description string            `json:"description,omitempty"`
	Token       string            `json:"clientToken,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

func (in *createEndpointRequest) check(p *isolde.Problems) {
	checkName(p, "name", in.Name)
	checkVersion(p, in.Version)
	checkEndpointDescription(p, in.Description)
	isolde.CheckToken(p, in.Token)
	isolde.CheckTags(p, in.Tags)
}

func checkEndpointDescription(p *isolde.Problems, description string) {
	p.Length("description", description, 0, 256)
}

type endpointChange struct {
	RuntimeARN  string              `json:"agentRuntimeArn"`
	ARN         string              `json:"agentRuntimeEndpointArn"`
	RuntimeID   isolde.RuntimeID    `json:"agentRuntimeId,omitempty"` // of creations only
	Name        isolde.EndpointName `json:"endpointName,omitempty"`   // of creations only
	LiveVersion string              `json:"liveVersion,omitempty"`
	Target      string              `json:"targetVersion"`
	Status      isolde.Status       `json:"status"`
	CreatedAt   timestamp           `json:"createdAt"`
	UpdatedAt   *timestamp          `json:"lastUpdatedAt,omitempty"` // of updates only
}

func (h *Handler) endpointChange(e isolde.Endpoint) endpointChange {
	return endpointChange{
		RuntimeARN: h.Locality.RuntimeARN(e.Runtime), ARN: h.Locality.EndpointARN(e.Runtime, e.Name),
		Target: version(e.Target), Status: e.Status, CreatedAt: timestamp(e.CreatedAt),
	}
}

func (h *Handler) createEndpoint(c *call) (any, error) {
	id, err := c.runtimeID()
	if err != nil {
		return nil, err
	}
	var in createEndpointRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	target, _ := parseVersion(deref(in.Version))
	e := isolde.Endpoint{Runtime: id, Name: isolde.EndpointName(in.Name), Target: target, Description: in.Description}
	change, err := h.Catalog.CreateEndpoint(c.Context(), in.Token, e, in.Tags)
	if err != nil {
		return nil, err
	}
	out := h.endpointChange(change.Endpoint)
	out.RuntimeID, out.Name = id, change.Endpoint.Name
	return out, nil
}

type updateEndpointRequest struct {
	Version     *string `json:"agentRuntimeVersion,omitempty"` // nil: stays
	Description *string `json:"description,omitempty"`         // nil: stays
	Token       string  `json:"clientToken,omitempty"`
}

func (in *updateEndpointRequest) check(p *isolde.Problems) {
	checkVersion(p, in.Version)
	checkEndpointDescription(p, deref(in.Description))
	isolde.CheckToken(p, in.Token)
}

func (h *Handler) updateEndpoint(c *call) (any, error) {
	id, name, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	var in updateEndpointRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	change := catalog.EndpointChange{Description: in.Description}
	if in.Version != nil {
		target, _ := parseVersion(*in.Version)
		change.Target = &target
	}
	done, err := h.Catalog.UpdateEndpoint(c.Context(), in.Token, id, name, change)
	if err != nil {
		return nil, err
	}
	out, updated := h.endpointChange(done.Endpoint), timestamp(done.Endpoint.UpdatedAt)
	out.LiveVersion, out.UpdatedAt = version(done.Endpoint.Version), &updated
	return out, nil
}

type endpointSummary struct {
	RuntimeARN  string              `json:"agentRuntimeArn"`
	ARN         string              `json:"agentRuntimeEndpointArn"`
	ID          isolde.EndpointName `json:"id"`
	Name        isolde.EndpointName `json:"name"`
	LiveVersion string              `json:"liveVersion,omitempty"` // absent while there is none
	Target      string              `json:"targetVersion,omitempty"`
	Status      isolde.Status       `json:"status"`
	Description string              `json:"description,omitempty"`
	CreatedAt   timestamp           `json:"createdAt"`
	UpdatedAt   timestamp           `json:"lastUpdatedAt"`
}

func (h *Handler) endpointSummary(e isolde.Endpoint) endpointSummary {
	return endpointSummary{
		RuntimeARN: h.Locality.RuntimeARN(e.Runtime), ARN: h.Locality.EndpointARN(e.Runtime, e.Name), ID: e.Name, Name: e.Name,
		LiveVersion: version(e.Version), Target: version(e.Target), Status: e.Status, Description: e.Description,
		CreatedAt: timestamp(e.CreatedAt), UpdatedAt: timestamp(e.UpdatedAt),
	}
}

type endpointDetail struct {
	endpointSummary
	FailureReason string `json:"failureReason,omitempty"`
}

func (h *Handler) getEndpoint(c *call) (any, error) {
	id, name, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.Endpoint(c.Context(), id, name)
	if err != nil {
		return nil, err
	}
	return endpointDetail{h.endpointSummary(e), e.FailureReason}, nil
}

type endpointPage struct {
	Endpoints []endpointSummary `json:"runtimeEndpoints"`
	NextToken string            `json:"nextToken,omitempty"`
}

// listEndpoints lists an agent runtime's endpoints by name. The operation
// declares no ResourceNotFoundException.
func (h *Handler) listEndpoints(c *call) (any, error) {
	id, err := c.runtimeID()
	if err != nil {
		return nil, err
	}
	p, err := c.page("endpoints of " + string(id))
	if err != nil {
		return nil, err
	}
	all, err := h.Store.Endpoints(c.Context(), id)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 { // every agent runtime has DEFAULT
		return nil, invalid("agentRuntimeId", "%q is not there", id)
	}
	rows := all[:0]
	for _, e := range all {
		if string(e.Name) > p.after && len(rows) <= p.limit {
			rows = append(rows, e)
		}
	}
	rows, next := cut(p, rows, func(e isolde.Endpoint) string { return string(e.Name) })
	out := endpointPage{Endpoints: make([]endpointSummary, len(rows)), NextToken: next}
	for i, e := range rows {
		out.Endpoints[i] = h.endpointSummary(e)
	}
	return out, nil
}

type endpointDeletion struct {
	RuntimeID isolde.RuntimeID    `json:"agentRuntimeId"`
	Name      isolde.EndpointName `json:"endpointName"`
	Status    isolde.Status       `json:"status"`
}

func (h *Handler) deleteEndpoint(c *call) (any, error) {
	id, name, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	change, err := h.Catalog.DeleteEndpoint(c.Context(), c.clientToken(), id, name)
	if err != nil {
		return nil, err
	}
	return endpointDeletion{id, name, change.Endpoint.Status}, nil
}
