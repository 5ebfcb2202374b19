package agentcore

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/isolde-run/isolde"
)

// maxTagKeys bounds how many tags one UntagResource names.
const maxTagKeys = 200

type tagRequest struct {
	Tags map[string]string `json:"tags"`
}

func (in *tagRequest) check(p *isolde.Problems) { isolde.CheckTags(p, in.Tags) }

func (h *Handler) tagResource(c *call) (any, error) {
	r, err := h.resource(c)
	if err != nil {
		return nil, err
	}
	var in tagRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return nil, h.Store.ChangeTags(c.Context(), r, in.Tags, nil)
}

func (h *Handler) untagResource(c *call) (any, error) {
	r, err := h.resource(c)
	if err != nil {
		return nil, err
	}
	keys, given := c.query["tagKeys"]
	switch {
	case !given:
		return nil, invalid("tagKeys", "is missing")
	case len(keys) > maxTagKeys:
		return nil, invalid("tagKeys", "has %d items; at most %d are allowed", len(keys), maxTagKeys)
	}
	return nil, h.Store.ChangeTags(c.Context(), r, nil, keys)
}

type tagList struct {
	Tags map[string]string `json:"tags"`
}

func (h *Handler) listTags(c *call) (any, error) {
	r, err := h.resource(c)
	if err != nil {
		return nil, err
	}
	tags, err := h.Store.Tags(c.Context(), r)
	return tagList{tags}, err
}

// maxPolicy bounds a policy document, in characters.
const maxPolicy = 20480

// policyDocument is a request as well as an answer. Isolde keeps policies and
// does not enforce them.
type policyDocument struct {
	Policy string `json:"policy"`
}

func (in *policyDocument) check(p *isolde.Problems) {
	p.Length("policy", in.Policy, 1, maxPolicy)
	text := []byte(in.Policy)
	if in.Policy != "" && (!json.Valid(text) || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))) {
		p.Add("policy", `is not a policy document, a JSON object such as {"Version":"2012-10-17","Statement":[]}`)
	}
}

func (h *Handler) putPolicy(c *call) (any, error) {
	r, err := h.resource(c)
	if err != nil {
		return nil, err
	}
	var in policyDocument
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return in, h.Store.SetPolicy(c.Context(), r, in.Policy)
}

func (h *Handler) getPolicy(c *call) (any, error) {
	r, err := h.resource(c)
	if err != nil {
		return nil, err
	}
	document, err := h.Store.Policy(c.Context(), r)
	if err == nil && document == "" {
		err = isolde.Errorf(isolde.CodeNotFound, "%s has no resource policy", h.arn(r))
	}
	return policyDocument{document}, err
}

// deletePolicy succeeds if there is none, so that it can be repeated.
func (h *Handler) deletePolicy(c *call) (any, error) {
	r, err := h.resource(c)
	if err != nil {
		return nil, err
	}
	return nil, h.Store.SetPolicy(c.Context(), r, "")
}

// resource reads the ARN of an agent runtime or an endpoint from the path,
// which may hold it escaped or not.
func (h *Handler) resource(c *call) (isolde.Resource, error) {
	const field = "resourceArn"
	s := strings.TrimSuffix(c.PathValue("arn"), "/")
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "bedrock-agentcore" {
		return isolde.Resource{}, invalid(field, "%q is not the ARN of an AgentCore resource; one reads like %s", shorten(s), h.Locality.RuntimeARN("my_agent-0123456789"))
	}
	missing := isolde.Errorf(isolde.CodeNotFound, "no resource %s", s)
	name, ok := strings.CutPrefix(parts[5], "runtime/")
	if !ok || !strings.HasPrefix(s, h.Locality.RuntimeARN("")) {
		return isolde.Resource{}, missing.WithHint("this server has agent runtimes, whose ARNs begin with %s, and their endpoints", h.Locality.RuntimeARN(""))
	}
	runtime, endpoint, hasEndpoint := strings.Cut(name, "/runtime-endpoint/")
	id, err := isolde.ParseRuntimeID(runtime)
	if err != nil || hasEndpoint && isolde.ValidateName("endpoint name", endpoint) != nil {
		return isolde.Resource{}, invalid(field, "%q is not the ARN of an agent runtime or an endpoint", s)
	}
	return isolde.Resource{Runtime: id, Endpoint: isolde.EndpointName(endpoint)}, nil
}

// arn is the inverse of resource.
func (h *Handler) arn(r isolde.Resource) string {
	if r.Endpoint == "" {
		return h.Locality.RuntimeARN(r.Runtime)
	}
	return h.Locality.EndpointARN(r.Runtime, r.Endpoint)
}
