package agentcore

import (
	"time"

	"github.com/isolde-run/isolde"
)

type createRuntimeRequest struct {
	Name string `json:"agentRuntimeName"`
	settings
	Token string            `json:"clientToken,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
}

func (in *createRuntimeRequest) check(p *isolde.Problems) {
	checkName(p, "agentRuntimeName", in.Name)
	in.settings.check(p)
	isolde.CheckToken(p, in.Token)
	isolde.CheckTags(p, in.Tags)
}

type runtimeChange struct {
	ARN       string               `json:"agentRuntimeArn"`
	ID        isolde.RuntimeID     `json:"agentRuntimeId"`
	Version   isolde.VersionNumber `json:"agentRuntimeVersion,string"`
	CreatedAt timestamp            `json:"createdAt"`
	UpdatedAt *timestamp           `json:"lastUpdatedAt,omitempty"` // of updates only
	Status    isolde.Status        `json:"status"`
	Identity  workloadIdentity     `json:"workloadIdentityDetails"`
}

type workloadIdentity struct {
	ARN string `json:"workloadIdentityArn"`
}

// identity is the workload identity that AWS makes for an agent runtime.
// Isolde has none yet, but clients expect its ARN.
func (h *Handler) identity(id isolde.RuntimeID) workloadIdentity {
	return workloadIdentity{"arn:aws:bedrock-agentcore:" + h.Locality.Region + ":" + h.Locality.Account +
		":workload-identity-directory/default/workload-identity/" + string(id)}
}

func (h *Handler) runtimeChange(c isolde.Change) runtimeChange {
	return runtimeChange{
		ARN: h.Locality.RuntimeARN(c.Runtime.ID), ID: c.Runtime.ID, Version: c.Version.Number,
		CreatedAt: timestamp(c.Runtime.CreatedAt), Status: c.Runtime.Status, Identity: h.identity(c.Runtime.ID),
	}
}

func (h *Handler) createRuntime(c *call) (any, error) {
	var in createRuntimeRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	change, err := h.Catalog.Create(c.Context(), in.Token, in.Name, in.spec(), in.Tags)
	if err != nil {
		return nil, err
	}
	return h.runtimeChange(change), nil
}

type updateRuntimeRequest struct {
	settings
	Metadata *metadata `json:"metadataConfiguration,omitempty"`
	Token    string    `json:"clientToken,omitempty"`
}

func (in *updateRuntimeRequest) check(p *isolde.Problems) {
	in.settings.check(p)
	isolde.CheckToken(p, in.Token)
}

func (in *updateRuntimeRequest) spec() isolde.VersionSpec {
	spec := in.settings.spec()
	if in.Metadata != nil {
		spec.Metadata = &isolde.MetadataConfiguration{RequireMMDSV2: in.Metadata.RequireMMDSV2}
	}
	return spec
}

func (h *Handler) updateRuntime(c *call) (any, error) {
	id, err := c.runtimeID()
	if err != nil {
		return nil, err
	}
	var in updateRuntimeRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	change, err := h.Catalog.Update(c.Context(), in.Token, id, in.spec())
	if err != nil {
		return nil, err
	}
	out, updated := h.runtimeChange(change), timestamp(change.Runtime.UpdatedAt)
	out.UpdatedAt = &updated
	return out, nil
}

type runtimeDetail struct {
	ARN     string               `json:"agentRuntimeArn"`
	ID      isolde.RuntimeID     `json:"agentRuntimeId"`
	Name    string               `json:"agentRuntimeName"`
	Version isolde.VersionNumber `json:"agentRuntimeVersion,string"`
	settings
	Metadata      *metadata        `json:"metadataConfiguration,omitempty"`
	Status        isolde.Status    `json:"status"`
	FailureReason string           `json:"failureReason,omitempty"`
	CreatedAt     timestamp        `json:"createdAt"`
	UpdatedAt     timestamp        `json:"lastUpdatedAt"`
	Identity      workloadIdentity `json:"workloadIdentityDetails"`
}

// getRuntime answers with the newest version unless another is asked for. The
// status is the agent runtime's with the newest version, and the version's own
// with another.
func (h *Handler) getRuntime(c *call) (any, error) {
	id, err := c.runtimeID()
	if err != nil {
		return nil, err
	}
	var asked isolde.VersionNumber
	if s := c.query.Get("version"); s != "" {
		var ok bool
		if asked, ok = parseVersion(s); !ok {
			return nil, invalid("agentRuntimeVersion", "%q is not a version's number, such as \"1\"", shorten(s))
		}
	}
	a, err := h.Store.Runtime(c.Context(), string(id))
	if err != nil {
		return nil, err
	}
	if asked == 0 {
		asked = a.Latest
	}
	v, err := h.Store.Version(c.Context(), id, asked)
	if err != nil {
		return nil, err
	}
	out := runtimeDetail{
		ARN: h.Locality.RuntimeARN(id), ID: id, Name: a.Name, Version: v.Number, settings: h.settings(a.Name, v),
		Status: v.Status, FailureReason: v.FailureReason,
		CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(v.UpdatedAt), Identity: h.identity(id),
	}
	if v.Number == a.Latest {
		out.Status, out.UpdatedAt = a.Status, timestamp(a.UpdatedAt)
		if a.FailureReason != "" {
			out.FailureReason = a.FailureReason
		}
	}
	if m := v.Spec.Metadata; m != nil {
		out.Metadata = &metadata{m.RequireMMDSV2}
	}
	return out, nil
}

type runtimeDeletion struct {
	ID      isolde.RuntimeID `json:"agentRuntimeId"`
	Version string           `json:"agentRuntimeVersion,omitempty"`
	Status  isolde.Status    `json:"status"`
}

// deleteRuntime deletes an agent runtime, or one version of it.
func (h *Handler) deleteRuntime(c *call) (any, error) {
	id, err := c.runtimeID()
	if err != nil {
		return nil, err
	}
	out := runtimeDeletion{ID: id, Version: c.query.Get("version"), Status: isolde.StatusDeleting}
	if out.Version == "" {
		_, err = h.Catalog.Delete(c.Context(), c.clientToken(), id)
		return out, err
	}
	n, ok := parseVersion(out.Version)
	if !ok { // see call.runtimeID
		return nil, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s has no version %q", id, shorten(out.Version))
	}
	_, err = h.Catalog.DeleteVersion(c.Context(), c.clientToken(), id, n)
	return out, err
}

type runtimeSummary struct {
	ARN         string               `json:"agentRuntimeArn"`
	ID          isolde.RuntimeID     `json:"agentRuntimeId"`
	Name        string               `json:"agentRuntimeName"`
	Version     isolde.VersionNumber `json:"agentRuntimeVersion,string"`
	Description string               `json:"description"` // required in the model, so there even if it is empty
	UpdatedAt   timestamp            `json:"lastUpdatedAt"`
	Status      isolde.Status        `json:"status"`
}

type runtimePage struct {
	Runtimes  []runtimeSummary `json:"agentRuntimes"`
	NextToken string           `json:"nextToken,omitempty"`
}

func (h *Handler) summary(a isolde.AgentRuntime, n isolde.VersionNumber, description string, s isolde.Status, at time.Time) runtimeSummary {
	return runtimeSummary{
		ARN: h.Locality.RuntimeARN(a.ID), ID: a.ID, Name: a.Name, Version: n,
		Description: description, UpdatedAt: timestamp(at), Status: s,
	}
}

// listRuntimes lists agent runtimes by name.
func (h *Handler) listRuntimes(c *call) (any, error) {
	p, err := c.page("runtimes")
	if err != nil {
		return nil, err
	}
	rows, err := h.Store.Runtimes(c.Context(), p.after, p.limit+1)
	if err != nil {
		return nil, err
	}
	rows, next := cut(p, rows, func(a isolde.AgentRuntime) string { return a.Name })
	out := runtimePage{Runtimes: make([]runtimeSummary, len(rows)), NextToken: next}
	for i, a := range rows {
		out.Runtimes[i] = h.summary(a, a.Latest, a.Description, a.Status, a.UpdatedAt)
	}
	return out, nil
}

// listVersions lists an agent runtime's versions, newest first.
func (h *Handler) listVersions(c *call) (any, error) {
	id, err := c.runtimeID()
	if err != nil {
		return nil, err
	}
	p, err := c.page("versions of " + string(id))
	if err != nil {
		return nil, err
	}
	before, ok := parseVersion(p.after)
	if !ok && p.after != "" {
		return nil, p.foreign()
	}
	a, err := h.Store.Runtime(c.Context(), string(id))
	if err != nil {
		return nil, err
	}
	rows, err := h.Store.Versions(c.Context(), id, before, p.limit+1)
	if err != nil {
		return nil, err
	}
	rows, next := cut(p, rows, func(v isolde.Version) string { return v.Number.String() })
	out := runtimePage{Runtimes: make([]runtimeSummary, len(rows)), NextToken: next}
	for i, v := range rows {
		out.Runtimes[i] = h.summary(a, v.Number, v.Spec.Description, v.Status, v.UpdatedAt)
	}
	return out, nil
}
