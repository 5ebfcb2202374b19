package catalog

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
)

// Target is what an invocation's target and qualifier stand for. Pure data,
// shared by all callers.
type Target struct {
	Runtime isolde.AgentRuntime
	Version isolde.Version
	Launch  *session.Launch // how a session of it starts
}

// entry holds the targets of one agent runtime. It is never changed: a change
// of the runtime drops it.
type entry struct {
	runtime isolde.AgentRuntime
	targets map[isolde.EndpointName]*Target
	normal  *Target                       // DEFAULT's: what nearly every call asks for, without a second lookup
	broken  map[isolde.EndpointName]error // endpoints that cannot serve, and why
}

// Resolve finds the version that an endpoint of an agent runtime points at.
// target is an id or a name; an empty qualifier is DEFAULT. It is on the path
// of every invocation and usually one map lookup. CodeNotFound names what
// there is not.
func (c *Catalog) Resolve(ctx context.Context, target string, qualifier isolde.EndpointName) (*Target, error) {
	if qualifier == "" {
		qualifier = isolde.DefaultEndpoint
	}
	e, ok := c.resolved.Load(target)
	if !ok {
		var err error
		if e, err = c.load(ctx, target); err != nil {
			return nil, err
		}
	}
	en := e.(*entry)
	if qualifier == isolde.DefaultEndpoint && en.normal != nil {
		return en.normal, nil
	}
	if t := en.targets[qualifier]; t != nil {
		return t, nil
	}
	if err := en.broken[qualifier]; err != nil {
		return nil, err
	}
	return nil, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s has no endpoint %q", en.runtime.ID, qualifier).
		WithHint("isolde endpoint ls lists them")
}

// load reads a runtime's endpoints into the cache. fill makes sure that a
// change cannot slip in between the reading and the storing.
func (c *Catalog) load(ctx context.Context, target string) (*entry, error) {
	c.fill.Lock()
	defer c.fill.Unlock()
	r, endpoints, versions, err := c.cfg.Store.Serving(ctx, target)
	if err != nil {
		return nil, err
	}
	if r.Status == isolde.StatusDeleting {
		return nil, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s is being deleted", r.ID)
	}
	en := &entry{runtime: r, targets: make(map[isolde.EndpointName]*Target), broken: make(map[isolde.EndpointName]error)}
	for _, e := range endpoints {
		t, err := c.serve(ctx, r, e, versions)
		if err != nil {
			en.broken[e.Name] = err
			continue
		}
		en.targets[e.Name] = t
	}
	en.normal = en.targets[isolde.DefaultEndpoint]
	if len(en.broken) == 0 { // what is broken may be mended
		c.resolved.Store(string(r.ID), en)
		c.resolved.Store(r.Name, en)
	}
	return en, nil
}

// serve is what an endpoint of a runtime stands for.
func (c *Catalog) serve(ctx context.Context, r isolde.AgentRuntime, e isolde.Endpoint, versions []isolde.Version) (*Target, error) {
	i := slices.IndexFunc(versions, func(v isolde.Version) bool { return v.Number == e.Version })
	if i < 0 {
		return nil, isolde.Errorf(isolde.CodeConflict, "endpoint %q of agent runtime %s has no version that is READY; version %d is %s", e.Name, r.ID, e.Target, e.Status).
			WithHint("isolde agent wait %s shows how far it is, or why it failed", r.Name)
	}
	img, err := c.cfg.Builder.Open(ctx, versions[i].Image)
	if err != nil {
		c.cfg.Logger.Warn("open image", "runtime", r.ID, "version", e.Version, "err", err)
		return nil, isolde.Errorf(isolde.CodeConflict, "the image of agent runtime %s, version %d is gone", r.ID, e.Version).
			WithHint("deploy it again").WithCause(err)
	}
	launch, err := c.launch(r, versions[i], img)
	if err != nil {
		return nil, err
	}
	return &Target{Runtime: r, Version: versions[i], Launch: launch}, nil
}

// forget drops what is cached of a runtime that has changed.
func (c *Catalog) forget(r isolde.AgentRuntime) {
	c.fill.Lock()
	defer c.fill.Unlock()
	c.resolved.Delete(string(r.ID))
	c.resolved.Delete(r.Name)
}

// launch composes how a session of the version starts. The agent's
// environment is, later ones winning: the image's, what the AgentCore
// container contract sets, the version's own.
func (c *Catalog) launch(r isolde.AgentRuntime, v isolde.Version, img image.Image) (*session.Launch, error) {
	mounts, err := c.mounts(v.Spec)
	if err != nil {
		return nil, err
	}
	env := make(map[string]string)
	for _, kv := range img.Env {
		k, value, _ := strings.Cut(kv, "=")
		env[k] = value
	}
	port := v.Spec.AgentPort()
	env["AWS_REGION"] = c.cfg.Locality.Region
	env["AWS_DEFAULT_REGION"] = c.cfg.Locality.Region
	env["PORT"] = strconv.Itoa(port)
	env["OTEL_RESOURCE_ATTRIBUTES"] = "cloud.resource_id=" + c.cfg.Locality.RuntimeARN(r.ID)
	maps.Copy(env, v.Spec.Environment)
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return &session.Launch{
		Version:   v.Number,
		Lifecycle: v.Spec.Lifecycle,
		Health:    health(v.Spec.Protocol),
		Limits:    v.Spec.Limits,
		Spec: sandbox.Spec{
			Root: img.Root, Command: img.Command, Env: list, Dir: img.Dir, UID: img.UID, GID: img.GID,
			Ports:     []int{port},
			Resources: v.Spec.Resources.WithDefaults(),
			Network:   v.Spec.Network,
			Volumes:   c.volumes(v.Spec),
			Mounts:    mounts,
		},
	}, nil
}

// health is how agents of a protocol are asked for theirs.
func health(p isolde.Protocol) session.Health {
	if p == isolde.ProtocolMCP {
		return session.HealthAnswers
	}
	return session.HealthPing
}
