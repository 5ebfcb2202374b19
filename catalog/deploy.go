package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
)

// maxSource bounds an uploaded folder, in bytes: what AgentCore allows an
// unpacked code artifact.
const maxSource = isolde.MaxCodeUnpacked

// Deployed is the result of a deployment.
type Deployed struct {
	Runtime isolde.AgentRuntime
	Version isolde.Version
	Created bool // the agent runtime is new
	Changed bool // the version is new; false if the newest one was already the same
}

// Deploy builds a folder, given as a tar stream, into the newest version of
// the agent runtime with the name, creating that if there is none. It is
// recorded once it is built, so a failed deployment changes nothing. Running
// sessions keep their version. Errors: CodeInvalid for what is wrong with the
// name, the spec or the source; CodeConflict while another change is under way.
func (c *Catalog) Deploy(ctx context.Context, name string, spec isolde.VersionSpec, source io.Reader, progress func(image.Progress)) (Deployed, error) {
	if err := errors.Join(isolde.ValidateName("agent name", name), spec.Validate()); err != nil {
		return Deployed{}, err
	}
	if err := c.unserved(spec); err != nil {
		return Deployed{}, err
	}
	dir, err := os.MkdirTemp(c.cfg.TempDir, "source-")
	if err != nil {
		return Deployed{}, fmt.Errorf("create build folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := image.Unpack(source, dir, maxSource); err != nil {
		return Deployed{}, err
	}
	return c.buildAndPublish(ctx, name, spec, func() (image.Image, error) {
		return c.cfg.Builder.Build(ctx, image.Source{Dir: dir, Entrypoint: spec.Entrypoint, Language: spec.Language}, progress)
	})
}

// DeployArtifact is [Catalog.Deploy] of what spec.Artifact names. In contrast
// to Create and Update it waits until that is built, and takes all of the
// spec: resources and egress, too.
func (c *Catalog) DeployArtifact(ctx context.Context, name string, spec isolde.VersionSpec, progress func(image.Progress)) (Deployed, error) {
	if err := errors.Join(isolde.ValidateName("agent name", name), checkRequest(isolde.Problems{}, "", spec)); err != nil {
		return Deployed{}, err
	}
	return c.buildAndPublish(ctx, name, spec, func() (image.Image, error) {
		return c.makeImage(ctx, spec, progress)
	})
}

func (c *Catalog) buildAndPublish(ctx context.Context, name string, spec isolde.VersionSpec, build func() (image.Image, error)) (Deployed, error) {
	d, err := c.publishBuilt(ctx, name, spec, build)
	if err != nil {
		c.cfg.Logger.Warn("deployment failed", "agent", name, "err", err, "cause", errors.Unwrap(err))
		return Deployed{}, err
	}
	c.forget(d.Runtime)
	c.cfg.Logger.Info("agent deployed", "runtime", d.Runtime.ID, "version", d.Version.Number, "created", d.Created, "changed", d.Changed)
	c.collectImages()
	return d, nil
}

func (c *Catalog) publishBuilt(ctx context.Context, name string, spec isolde.VersionSpec, build func() (image.Image, error)) (Deployed, error) {
	c.building.RLock() // until a version names it, an image looks unused
	defer c.building.RUnlock()
	img, err := build()
	if err != nil {
		return Deployed{}, err
	}
	defer c.names.lock(name)()
	return c.publish(ctx, name, spec, img)
}

func (c *Catalog) publish(ctx context.Context, name string, spec isolde.VersionSpec, img image.Image) (Deployed, error) {
	v := newVersion(spec, isolde.StatusReady)
	v.Image = img.Digest
	r, err := c.cfg.Store.Runtime(ctx, name)
	if isolde.CodeOf(err) == isolde.CodeNotFound {
		change, err := c.cfg.Store.CreateRuntime(ctx, isolde.Once{}, newRuntime(name, v), v, nil)
		return Deployed{Runtime: change.Runtime, Version: change.Version, Created: true, Changed: true}, err
	}
	if err != nil {
		return Deployed{}, err
	}
	if err := settled(r); err != nil {
		return Deployed{}, err
	}
	newest, err := c.cfg.Store.Version(ctx, r.ID, r.Latest)
	if err != nil {
		return Deployed{}, err
	}
	if newest.Image == v.Image && newest.Spec.Equal(v.Spec) {
		return Deployed{Runtime: r, Version: newest}, nil
	}
	v.Runtime = r.ID
	change, err := c.cfg.Store.AddVersion(ctx, isolde.Once{}, v)
	return Deployed{Runtime: change.Runtime, Version: change.Version, Changed: true}, err
}

func newVersion(spec isolde.VersionSpec, status isolde.Status) isolde.Version {
	now := time.Now()
	return isolde.Version{Number: 1, Spec: spec, Status: status, CreatedAt: now, UpdatedAt: now}
}

func newRuntime(name string, v isolde.Version) isolde.AgentRuntime {
	return isolde.AgentRuntime{
		ID: isolde.NewRuntimeID(name), Name: name,
		Status: v.Status, Latest: v.Number, CreatedAt: v.CreatedAt, UpdatedAt: v.CreatedAt,
	}
}

// settled is CodeConflict while a change of the runtime is under way.
func settled(r isolde.AgentRuntime) error {
	if r.Status.Final() {
		return nil
	}
	return isolde.Errorf(isolde.CodeConflict, "agent runtime %s is %s; it can be changed once that is over", r.ID, r.Status).
		WithHint("isolde agent wait %s", r.Name)
}
