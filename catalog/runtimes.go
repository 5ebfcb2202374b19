package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// Create records an agent runtime and begins to build its first version:
// CREATING, then READY or CREATE_FAILED. token makes the call idempotent if it
// is not empty. Errors: CodeInvalid with the fields at fault, CodeConflict
// when the name is taken, CodeMismatch for a token of another request.
func (c *Catalog) Create(ctx context.Context, token, name string, spec isolde.VersionSpec, tags map[string]string) (isolde.Change, error) {
	var p isolde.Problems
	if err := isolde.ValidateName("agent name", name); err != nil {
		p.Add("agentRuntimeName", "%s", strings.TrimPrefix(isolde.AsError(err).Message, "agent name "))
	}
	isolde.CheckTags(&p, tags)
	if err := checkRequest(p, token, spec); err != nil {
		return isolde.Change{}, err
	}
	once := newOnce("CreateAgentRuntime", token, name, spec, tags)
	return c.change(ctx, name, once, func() (isolde.Change, error) {
		v := newVersion(spec, isolde.StatusCreating)
		change, err := c.cfg.Store.CreateRuntime(ctx, once, newRuntime(name, v), v, tags)
		if err != nil {
			return isolde.Change{}, err
		}
		c.progress.begin(change.Runtime.ID)
		c.began(change.Runtime, "creating")
		return change, nil
	})
}

// Update records the next version and begins to build it: UPDATING, then
// READY or UPDATE_FAILED. DEFAULT goes on serving the last version until the
// new one is READY. What the AgentCore API has no words for (resources,
// egress, limits, folders of the machine, whose sessions are) stays as it was. Errors as Create's,
// and CodeConflict while another change is under way.
func (c *Catalog) Update(ctx context.Context, token string, id isolde.RuntimeID, spec isolde.VersionSpec) (isolde.Change, error) {
	if err := checkRequest(isolde.Problems{}, token, spec); err != nil {
		return isolde.Change{}, err
	}
	once := newOnce("UpdateAgentRuntime", token, id, spec)
	return c.change(ctx, nameOf(id), once, func() (isolde.Change, error) {
		r, err := c.settledRuntime(ctx, id)
		if err != nil {
			return isolde.Change{}, err
		}
		last, err := c.cfg.Store.Version(ctx, id, r.Latest)
		if err != nil {
			return isolde.Change{}, err
		}
		spec.Language, spec.Entrypoint = last.Spec.Language, last.Spec.Entrypoint
		spec.Resources, spec.Network, spec.Limits = last.Spec.Resources, last.Spec.Network, last.Spec.Limits
		spec.Mounts, spec.BindSessions = last.Spec.Mounts, last.Spec.BindSessions
		if err := spec.Validate(); err != nil { // paths of the one and the other may be the same
			return isolde.Change{}, err
		}
		v := newVersion(spec, isolde.StatusUpdating)
		v.Runtime = id
		change, err := c.cfg.Store.AddVersion(ctx, once, v)
		if err != nil {
			return isolde.Change{}, err
		}
		c.progress.begin(id)
		c.began(change.Runtime, "updating")
		return change, nil
	})
}

// Delete begins to delete an agent runtime: DELETING, and gone once its
// sessions have ended and their files are removed; DELETE_FAILED if they
// cannot be. CodeConflict while another change is under way.
func (c *Catalog) Delete(ctx context.Context, token string, id isolde.RuntimeID) (isolde.Change, error) {
	if err := checkToken(token); err != nil {
		return isolde.Change{}, err
	}
	once := newOnce("DeleteAgentRuntime", token, id)
	return c.change(ctx, nameOf(id), once, func() (isolde.Change, error) {
		r, err := c.settledRuntime(ctx, id)
		if err != nil {
			return isolde.Change{}, err
		}
		change, err := c.setDeleting(ctx, once, r)
		if err == nil {
			c.began(r, "deleting")
		}
		return change, err
	})
}

func (c *Catalog) setDeleting(ctx context.Context, once isolde.Once, r isolde.AgentRuntime) (isolde.Change, error) {
	r.Status, r.FailureReason, r.UpdatedAt = isolde.StatusDeleting, "", time.Now()
	return c.cfg.Store.SetRuntimeStatus(ctx, once, r)
}

// Remove deletes an agent runtime whatever is under way, and waits until it
// is gone.
func (c *Catalog) Remove(ctx context.Context, idOrName string) (isolde.AgentRuntime, error) {
	r, err := c.cfg.Store.Runtime(ctx, idOrName)
	if err != nil {
		return r, err
	}
	if err := c.markRemoved(ctx, r); err != nil {
		return r, err
	}
	if err := c.jobs.cancel(ctx, r.ID); err != nil { // a build that nobody needs
		return r, err
	}
	c.began(r, "deleting")
	if err := c.jobs.await(ctx, r.ID); err != nil {
		return r, err
	}
	left, err := c.cfg.Store.Runtime(ctx, string(r.ID))
	switch {
	case isolde.CodeOf(err) == isolde.CodeNotFound:
		return r, nil
	case err == nil:
		err = isolde.Errorf(isolde.CodeInternal, "agent runtime %s is %s: %s", r.ID, left.Status, left.FailureReason)
	}
	return r, err
}

func (c *Catalog) markRemoved(ctx context.Context, r isolde.AgentRuntime) error {
	defer c.names.lock(r.Name)()
	_, err := c.setDeleting(ctx, isolde.Once{}, r)
	return err
}

// DeleteVersion ends the sessions of a version and removes it. CodeConflict
// while an endpoint names it or another change is under way.
func (c *Catalog) DeleteVersion(ctx context.Context, token string, id isolde.RuntimeID, n isolde.VersionNumber) (isolde.Change, error) {
	if err := checkToken(token); err != nil {
		return isolde.Change{}, err
	}
	once := newOnce("DeleteAgentRuntime", token, id, n)
	return c.change(ctx, nameOf(id), once, func() (isolde.Change, error) {
		r, err := c.settledRuntime(ctx, id)
		if err != nil {
			return isolde.Change{}, err
		}
		v, err := c.cfg.Store.Version(ctx, id, n)
		if err != nil {
			return isolde.Change{}, err
		}
		if err := c.unused(ctx, v); err != nil {
			return isolde.Change{}, err
		}
		ofVersion := func(s isolde.Session) bool { return s.Runtime == id && s.Version == n }
		if _, err := c.cfg.Sessions.StopAll(ctx, isolde.EndServer, "was ended with its version", ofVersion); err != nil {
			return isolde.Change{}, err
		}
		change, err := c.cfg.Store.DeleteVersion(ctx, once, v)
		if err != nil {
			return isolde.Change{}, err
		}
		c.cfg.Logger.Info("version deleted", "runtime", r.ID, "version", n)
		c.collectImages()
		return change, nil
	})
}

// unused is CodeConflict if an endpoint names the version.
func (c *Catalog) unused(ctx context.Context, v isolde.Version) error {
	endpoints, err := c.cfg.Store.Endpoints(ctx, v.Runtime)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		if e.Version == v.Number || e.Target == v.Number {
			return isolde.Errorf(isolde.CodeConflict, "version %d of agent runtime %s is endpoint %s's", v.Number, v.Runtime, e.Name).
				WithHint("point the endpoint at another version first; DEFAULT follows the newest")
		}
	}
	return nil
}

// settledRuntime finds a runtime that no change is under way of.
func (c *Catalog) settledRuntime(ctx context.Context, id isolde.RuntimeID) (isolde.AgentRuntime, error) {
	r, err := c.cfg.Store.Runtime(ctx, string(id))
	if err == nil {
		err = settled(r)
	}
	return r, err
}

// began is called after a change that leaves something to do.
func (c *Catalog) began(r isolde.AgentRuntime, change string) {
	c.cfg.Logger.Info("change began", "change", change, "runtime", r.ID, "version", r.Latest)
	c.forget(r)
	c.work(r.ID)
}

// checkRequest is what is wrong with the fields of a request, beside those in p.
func checkRequest(p isolde.Problems, token string, spec isolde.VersionSpec) error {
	isolde.CheckToken(&p, token)
	if spec.Artifact == nil {
		p.Add("agentRuntimeArtifact", "is missing")
	}
	if spec.CapacityProvider != "" {
		p.Add("capacityProviderConfiguration", "is not offered: Isolde has no capacity providers, sessions run on the server's machine")
	}
	p.Join(spec.Validate())
	return p.Err()
}

func checkToken(token string) error {
	var p isolde.Problems
	isolde.CheckToken(&p, token)
	return p.Err()
}

// change makes a change of a name's runtime, one at a time; only once with a
// token, with which a repetition gets what the first call got.
func (c *Catalog) change(ctx context.Context, name string, once isolde.Once, f func() (isolde.Change, error)) (isolde.Change, error) {
	defer c.names.lock(name)()
	if once.Token != "" {
		if done, err := c.cfg.Store.Repeated(ctx, once); err != nil {
			return isolde.Change{}, err
		} else if done != nil {
			return *done, nil
		}
	}
	return f()
}

// newOnce hashes a request, of values that JSON writes the same each time.
func newOnce(operation, token string, request ...any) isolde.Once {
	if token == "" {
		return isolde.Once{}
	}
	b, err := json.Marshal(request)
	if err != nil {
		panic(fmt.Sprintf("hash request: %v", err)) // plain data always encodes
	}
	sum := sha256.Sum256(b)
	return isolde.Once{Operation: operation, Token: token, Digest: hex.EncodeToString(sum[:])}
}
