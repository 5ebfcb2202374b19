package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/image"
)

// buildTimeout bounds the making of a version, so that a registry or package
// index that hangs does not keep a runtime CREATING for ever.
const buildTimeout = 30 * time.Minute

// maxReason bounds a failureReason, in bytes.
const maxReason = 4 << 10

// build makes a version of its artifact and records how that ended. If ctx
// ends in the middle nothing is recorded, so that the next server builds it.
func (c *Catalog) build(ctx context.Context, r isolde.AgentRuntime, v isolde.Version) error {
	log := c.progress.open(v.Runtime)
	defer log.end()
	started := time.Now()
	c.building.RLock() // until a version names it, an image looks unused
	defer c.building.RUnlock()
	img, err := c.makeImage(ctx, v.Spec, func(p image.Progress) {
		c.cfg.Logger.Info("build", "runtime", v.Runtime, "version", v.Number, "stage", p.Stage, "step", p.Message, "cached", p.Cached)
		log.add(p)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	v.UpdatedAt = time.Now()
	if err != nil {
		v.Status, v.FailureReason = failed(v.Status), failureReason(err)
		c.cfg.Logger.Warn("version failed", "runtime", v.Runtime, "version", v.Number, "err", err, "cause", errors.Unwrap(err))
	} else {
		v.Status, v.Image = isolde.StatusReady, img.Digest
		c.cfg.Logger.Info("version is ready", "runtime", v.Runtime, "version", v.Number, "image", img.Digest, "dur", time.Since(started))
	}
	return c.finish(ctx, r, v)
}

func (c *Catalog) finish(ctx context.Context, r isolde.AgentRuntime, v isolde.Version) error {
	defer c.names.lockID(v.Runtime)()
	now, err := c.cfg.Store.Runtime(ctx, string(v.Runtime))
	if err != nil || now.Status == isolde.StatusDeleting {
		return err // the deletion goes on as soon as this ends
	}
	if err := c.cfg.Store.FinishVersion(ctx, v); err != nil {
		return err
	}
	c.forget(r)
	return nil
}

// makeImage makes the image of a spec's artifact.
func (c *Catalog) makeImage(ctx context.Context, spec isolde.VersionSpec, progress func(image.Progress)) (image.Image, error) {
	if err := c.unserved(spec); err != nil {
		return image.Image{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, buildTimeout,
		isolde.Errorf(isolde.CodeInvalid, "the build took longer than %v", buildTimeout))
	defer cancel()
	select {
	case c.builds <- struct{}{}:
	default:
		progress(image.Progress{Stage: "artifact", Message: "waiting for other builds"})
		select {
		case c.builds <- struct{}{}:
		case <-ctx.Done():
			return image.Image{}, context.Cause(ctx)
		}
	}
	defer func() { <-c.builds }()
	var img image.Image
	var err error
	if a := spec.Artifact; a.Container != nil {
		img, err = c.cfg.Builder.Import(ctx, a.Container.URI, progress)
	} else {
		img, err = c.buildCode(ctx, a.Code, progress)
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && !c.cfg.Driver.OwnRoot && img.Root.Host == nil:
		err = isolde.Errorf(isolde.CodeUnsupported, "a container image cannot run on this server: its driver runs agents on the machine's own files").
			WithHint("use a server with the driver gvisor, or deploy the agent's code")
	case err == nil:
		err = checkRoot(spec, img)
	}
	return img, err
}

// buildCode fetches a zip archive and builds what is in it.
func (c *Catalog) buildCode(ctx context.Context, a *isolde.CodeArtifact, progress func(image.Progress)) (image.Image, error) {
	dir, err := os.MkdirTemp(c.cfg.TempDir, "code-")
	if err != nil {
		return image.Image{}, fmt.Errorf("create build folder: %w", err)
	}
	defer os.RemoveAll(dir)
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		return image.Image{}, fmt.Errorf("create build folder: %w", err)
	}
	if err := c.fetchCode(ctx, *a.Code.S3, filepath.Join(dir, "code.zip"), source, progress); err != nil {
		return image.Image{}, err
	}
	return c.cfg.Builder.Build(ctx, image.Source{Dir: source, Entrypoint: a.Entrypoint, Runtime: a.Runtime}, progress)
}

// fetchCode fetches an archive by way of a temporary file and unpacks it.
func (c *Catalog) fetchCode(ctx context.Context, from isolde.S3Location, file, into string, progress func(image.Progress)) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("create file for archive: %w", err)
	}
	defer os.Remove(file)
	defer f.Close()
	size, err := c.cfg.Objects.Fetch(ctx, from, isolde.MaxCodeZip, f)
	if err != nil {
		return err
	}
	progress(image.Progress{Stage: "artifact", Message: fmt.Sprintf("fetched %s, %.1f MB", from, float64(size)/1e6)})
	return image.UnpackZip(f, size, into, isolde.MaxCodeUnpacked)
}

// unserved is what of a spec the API takes and this server cannot do. A
// runtime that asks for it is not READY, rather than READY without.
func (c *Catalog) unserved(spec isolde.VersionSpec) error {
	if spec.Authorizer != nil { // better refused than not enforced
		if err := jwt.Check(spec.Authorizer.JWT); err != nil {
			return err
		}
	}
	return c.unmountable(spec)
}

// failureReason is what an owner reads of an error: all that is known, since
// it is theirs to mend.
func failureReason(err error) string {
	reason := err.Error()
	if e, ok := errors.AsType[*isolde.Error](err); ok {
		reason = e.Error()
	}
	if len(reason) > maxReason {
		reason = reason[:maxReason-3] + "..."
	}
	return reason
}
