// Package catalog keeps agent runtimes: it builds a source into a version,
// says which version a name points at, and deletes what is no longer needed.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/session"
)

// maxSource bounds an uploaded folder, in bytes: what AgentCore allows an
// unpacked code artifact.
const maxSource = 750 << 20

// Config is what a catalog works with. All fields are required.
type Config struct {
	Store    isolde.RuntimeStore
	Builder  image.Builder
	Sessions *session.Manager
	Locality isolde.Locality
	TempDir  string // for sources while they are built; emptied by Open
	Logger   *slog.Logger
}

// Catalog keeps the agent runtimes of a server. Safe for concurrent use.
type Catalog struct {
	cfg      Config
	names    locks    // one deployment or deletion of a name at a time
	resolved sync.Map // id or name → *entry; what Resolve finds
	fill     sync.Mutex
	building sync.RWMutex // read by deployments, written by collections of images
	collects sync.WaitGroup
}

// Open makes a catalog.
func Open(cfg Config) (*Catalog, error) {
	if err := os.RemoveAll(cfg.TempDir); err != nil {
		return nil, fmt.Errorf("clear build folder: %w", err)
	}
	if err := os.MkdirAll(cfg.TempDir, 0o700); err != nil {
		return nil, fmt.Errorf("create build folder: %w", err)
	}
	return &Catalog{cfg: cfg}, nil
}

// Close waits for work in the background.
func (c *Catalog) Close() error {
	c.collects.Wait()
	return nil
}

// Deployed is the result of a deployment.
type Deployed struct {
	Runtime isolde.AgentRuntime
	Version isolde.Version
	Created bool // the agent runtime is new
	Changed bool // the version is new; false if the newest one was already the same
}

// Deploy builds a folder, given as a tar stream, into the newest version of
// the agent runtime with the name, creating that if there is none. Running
// sessions keep their version. A failed deployment changes nothing. Errors:
// CodeInvalid for what is wrong with the name, the spec or the source.
func (c *Catalog) Deploy(ctx context.Context, name string, spec isolde.VersionSpec, source io.Reader, progress func(image.Progress)) (Deployed, error) {
	if err := isolde.ValidateName("agent name", name); err != nil {
		return Deployed{}, err
	}
	if err := spec.Validate(); err != nil {
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
	d, err := c.buildAndPublish(ctx, name, spec, dir, progress)
	if err != nil {
		c.cfg.Logger.Warn("deployment failed", "agent", name, "err", err, "cause", errors.Unwrap(err))
		return Deployed{}, err
	}
	c.forget(d.Runtime)
	c.cfg.Logger.Info("agent deployed", "runtime", d.Runtime.ID, "version", d.Version.Number, "created", d.Created, "changed", d.Changed)
	c.collectImages()
	return d, nil
}

func (c *Catalog) buildAndPublish(ctx context.Context, name string, spec isolde.VersionSpec, dir string, progress func(image.Progress)) (Deployed, error) {
	c.building.RLock() // until a version names it, an image looks unused
	defer c.building.RUnlock()
	img, err := c.cfg.Builder.Build(ctx, image.Source{Dir: dir, Entrypoint: spec.Entrypoint, Language: spec.Language}, progress)
	if err != nil {
		return Deployed{}, err
	}
	defer c.names.lock(name)()
	return c.publish(ctx, name, spec, img)
}

func (c *Catalog) publish(ctx context.Context, name string, spec isolde.VersionSpec, img image.Image) (Deployed, error) {
	now := time.Now()
	v := isolde.Version{Number: 1, Spec: spec, Image: img.Digest, Status: isolde.StatusReady, CreatedAt: now}
	r, err := c.cfg.Store.Runtime(ctx, name)
	if isolde.CodeOf(err) == isolde.CodeNotFound {
		r = isolde.AgentRuntime{
			ID: isolde.NewRuntimeID(name), Name: name,
			Status: isolde.StatusReady, Latest: 1, CreatedAt: now, UpdatedAt: now,
		}
		v.Runtime = r.ID
		return Deployed{Runtime: r, Version: v, Created: true, Changed: true}, c.cfg.Store.CreateRuntime(ctx, r, v)
	}
	if err != nil {
		return Deployed{}, err
	}
	versions, err := c.cfg.Store.Versions(ctx, r.ID)
	if err != nil {
		return Deployed{}, err
	}
	if len(versions) > 0 && versions[0].Image == v.Image && versions[0].Spec.Equal(v.Spec) {
		return Deployed{Runtime: r, Version: versions[0]}, nil
	}
	v.Runtime = r.ID
	if v, err = c.cfg.Store.CreateVersion(ctx, v); err != nil {
		return Deployed{}, err
	}
	r.Latest, r.UpdatedAt = v.Number, now
	return Deployed{Runtime: r, Version: v, Changed: true}, nil
}

// Delete ends the runtime's sessions and removes it with its versions, logs
// and images.
func (c *Catalog) Delete(ctx context.Context, idOrName string) (isolde.AgentRuntime, error) {
	r, err := c.cfg.Store.Runtime(ctx, idOrName)
	if err != nil {
		return r, err
	}
	defer c.names.lock(r.Name)()
	ofRuntime := func(s isolde.Session) bool { return s.Runtime == r.ID }
	if _, err := c.cfg.Sessions.StopAll(ctx, "was ended with its agent runtime", ofRuntime); err != nil {
		return r, err
	}
	if err := c.cfg.Store.DeleteRuntime(ctx, r.ID); err != nil {
		return r, err
	}
	c.forget(r)
	// A request that resolved the runtime just before may have started another.
	if _, err := c.cfg.Sessions.StopAll(ctx, "was ended with its agent runtime", ofRuntime); err != nil {
		return r, err
	}
	c.cfg.Logger.Info("agent deleted", "runtime", r.ID)
	c.collectImages()
	return r, c.cfg.Sessions.RemoveLogs(r.ID)
}

// keepVersions is how many of a runtime's newest versions keep their image
// although no endpoint points at them, so that a session which resolved its
// version a moment ago still finds it.
const keepVersions = 2

// collectImages removes, in the background, the images that no endpoint, no
// running session and none of the newest versions needs.
func (c *Catalog) collectImages() {
	c.collects.Go(func() {
		if !c.building.TryLock() {
			return // whoever builds will collect
		}
		defer c.building.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		keep, err := c.imagesInUse(ctx)
		if err == nil {
			_, err = c.cfg.Builder.Collect(ctx, keep)
		}
		if err != nil {
			c.cfg.Logger.Error("collect images", "err", err)
		}
	})
}

func (c *Catalog) imagesInUse(ctx context.Context) ([]string, error) {
	type ref struct {
		id isolde.RuntimeID
		n  isolde.VersionNumber
	}
	used := make(map[ref]bool)
	for _, s := range c.cfg.Sessions.Sessions() {
		used[ref{s.Runtime, s.Version}] = true
	}
	runtimes, err := c.cfg.Store.Runtimes(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	var keep []string
	for _, r := range runtimes {
		endpoints, err1 := c.cfg.Store.Endpoints(ctx, r.ID)
		versions, err2 := c.cfg.Store.Versions(ctx, r.ID)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		for _, e := range endpoints {
			used[ref{r.ID, e.Version}] = true
		}
		for i, v := range versions {
			if i < keepVersions || used[ref{r.ID, v.Number}] {
				keep = append(keep, v.Image)
			}
		}
	}
	return keep, nil
}

// locks are mutexes by name.
type locks struct {
	mu sync.Mutex
	by map[string]*lockEntry
}

type lockEntry struct {
	sync.Mutex
	users int
}

// lock locks the name and returns what unlocks it.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.by == nil {
		l.by = make(map[string]*lockEntry)
	}
	e := cmp.Or(l.by[name], &lockEntry{})
	l.by[name] = e
	e.users++
	l.mu.Unlock()
	e.Lock()
	return func() {
		e.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(l.by, name)
		}
	}
}
