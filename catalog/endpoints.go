package catalog

import (
	"context"
	"time"

	"github.com/isolde-run/isolde"
)

// maxEndpoints bounds the endpoints of an agent runtime, ten times as many as
// AgentCore's.
const maxEndpoints = 100

// CreateEndpoint records an endpoint at a version, the newest if e.Target is
// 0: CREATING, then READY or CREATE_FAILED. e needs Runtime, Name, Target and
// Description. Errors: CodeInvalid with the fields, CodeNotFound for the
// runtime or version, CodeConflict when the name is taken or the version is
// not READY, CodeQuota.
func (c *Catalog) CreateEndpoint(ctx context.Context, token string, e isolde.Endpoint, tags map[string]string) (isolde.Change, error) {
	var p isolde.Problems
	if err := isolde.ValidateName("endpoint name", string(e.Name)); err != nil {
		p.Add("name", "%q must start with a letter and hold 1 to 48 letters, digits and underscores", e.Name)
	}
	isolde.CheckToken(&p, token)
	isolde.CheckTags(&p, tags)
	checkDescription(&p, e.Description)
	if err := p.Err(); err != nil {
		return isolde.Change{}, err
	}
	once := newOnce("CreateAgentRuntimeEndpoint", token, e, tags)
	return c.change(ctx, nameOf(e.Runtime), once, func() (isolde.Change, error) {
		r, err := c.servable(ctx, &e)
		if err != nil {
			return isolde.Change{}, err
		}
		others, err := c.cfg.Store.Endpoints(ctx, e.Runtime)
		if err != nil {
			return isolde.Change{}, err
		}
		if len(others) >= maxEndpoints {
			return isolde.Change{}, isolde.Errorf(isolde.CodeQuota, "agent runtime %s has %d endpoints, the most that are allowed", e.Runtime, len(others))
		}
		e.Status, e.CreatedAt = isolde.StatusCreating, time.Now()
		e.UpdatedAt = e.CreatedAt
		change, err := c.cfg.Store.CreateEndpoint(ctx, once, e, tags)
		if err != nil {
			return isolde.Change{}, err
		}
		c.began(r, "creating endpoint")
		return change, nil
	})
}

// servable checks that an endpoint can be pointed at its target, which it
// fills in if it is 0.
func (c *Catalog) servable(ctx context.Context, e *isolde.Endpoint) (isolde.AgentRuntime, error) {
	r, err := c.cfg.Store.Runtime(ctx, string(e.Runtime))
	if err != nil {
		return r, err
	}
	if r.Status == isolde.StatusDeleting {
		return r, settled(r)
	}
	if e.Target == 0 {
		e.Target = r.Latest
	}
	v, err := c.cfg.Store.Version(ctx, e.Runtime, e.Target)
	if err == nil && v.Status != isolde.StatusReady {
		err = isolde.Errorf(isolde.CodeConflict, "version %d of agent runtime %s is %s; an endpoint needs one that is READY", v.Number, r.ID, v.Status)
	}
	return r, err
}

// EndpointChange is what UpdateEndpoint changes; nil stays.
type EndpointChange struct {
	Target      *isolde.VersionNumber
	Description *string
}

// UpdateEndpoint points an endpoint at another version: UPDATING, then READY
// or UPDATE_FAILED; it serves the version it did until then. Errors as
// CreateEndpoint's; DEFAULT follows the newest version and cannot be pointed.
func (c *Catalog) UpdateEndpoint(ctx context.Context, token string, id isolde.RuntimeID, name isolde.EndpointName, change EndpointChange) (isolde.Change, error) {
	var p isolde.Problems
	isolde.CheckToken(&p, token)
	if change.Description != nil {
		checkDescription(&p, *change.Description)
	}
	if name == isolde.DefaultEndpoint && change.Target != nil {
		p.Add("agentRuntimeVersion", "cannot be set: DEFAULT follows the newest version")
	}
	if err := p.Err(); err != nil {
		return isolde.Change{}, err
	}
	once := newOnce("UpdateAgentRuntimeEndpoint", token, id, name, change)
	return c.change(ctx, nameOf(id), once, func() (isolde.Change, error) {
		e, err := c.settledEndpoint(ctx, id, name)
		if err != nil {
			return isolde.Change{}, err
		}
		if change.Description != nil {
			e.Description = *change.Description
		}
		if change.Target != nil {
			e.Target = *change.Target
		}
		r, err := c.servable(ctx, &e)
		if err != nil {
			return isolde.Change{}, err
		}
		e.Status, e.FailureReason, e.UpdatedAt = isolde.StatusUpdating, "", time.Now()
		done, err := c.cfg.Store.PutEndpoint(ctx, once, e)
		if err != nil {
			return isolde.Change{}, err
		}
		c.began(r, "updating endpoint")
		return done, nil
	})
}

// DeleteEndpoint begins to delete an endpoint. DEFAULT goes with its runtime
// only.
func (c *Catalog) DeleteEndpoint(ctx context.Context, token string, id isolde.RuntimeID, name isolde.EndpointName) (isolde.Change, error) {
	if err := checkToken(token); err != nil {
		return isolde.Change{}, err
	}
	if name == isolde.DefaultEndpoint {
		return isolde.Change{}, isolde.Errorf(isolde.CodeConflict, "endpoint %s cannot be deleted", name).
			WithHint("default endpoints are removed when you delete the agent")
	}
	once := newOnce("DeleteAgentRuntimeEndpoint", token, id, name)
	return c.change(ctx, nameOf(id), once, func() (isolde.Change, error) {
		r, err := c.cfg.Store.Runtime(ctx, string(id))
		if err != nil {
			return isolde.Change{}, err
		}
		e, err := c.settledEndpoint(ctx, id, name)
		if err != nil {
			return isolde.Change{}, err
		}
		e.Status, e.UpdatedAt = isolde.StatusDeleting, time.Now()
		change, err := c.cfg.Store.PutEndpoint(ctx, once, e)
		if err != nil {
			return isolde.Change{}, err
		}
		c.began(r, "deleting endpoint")
		return change, nil
	})
}

// Endpoint finds one endpoint.
func (c *Catalog) Endpoint(ctx context.Context, id isolde.RuntimeID, name isolde.EndpointName) (isolde.Endpoint, error) {
	all, err := c.cfg.Store.Endpoints(ctx, id)
	if err != nil {
		return isolde.Endpoint{}, err
	}
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
	}
	if _, err := c.cfg.Store.Runtime(ctx, string(id)); err != nil {
		return isolde.Endpoint{}, err
	}
	return isolde.Endpoint{}, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s has no endpoint %q", id, name).
		WithHint("isolde endpoint ls lists them")
}

func (c *Catalog) settledEndpoint(ctx context.Context, id isolde.RuntimeID, name isolde.EndpointName) (isolde.Endpoint, error) {
	e, err := c.Endpoint(ctx, id, name)
	if err == nil && !e.Status.Final() {
		err = isolde.Errorf(isolde.CodeConflict, "endpoint %s of agent runtime %s is %s; it can be changed once that is over", name, id, e.Status)
	}
	return e, err
}

func checkDescription(p *isolde.Problems, description string) {
	if description != "" {
		p.Length("description", description, 1, 256)
	}
}
