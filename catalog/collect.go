package catalog

import (
	"context"
	"slices"
	"time"

	"github.com/isolde-run/isolde"
)

// collectTimeout bounds one collection, which is taken up by the next.
const collectTimeout = 5 * time.Minute

// collectImages removes, in the background, the versions that no endpoint and
// no session needs and that are not among the newest, the images that no
// version names, and what sessions of versions keep that no endpoint names.
func (c *Catalog) collectImages() {
	if c.life.Err() != nil {
		return
	}
	c.collects.Go(func() {
		ctx, cancel := context.WithTimeout(c.life, collectTimeout)
		defer cancel()
		c.collectStorage(ctx)
		if !c.building.TryLock() {
			return // whoever builds will collect
		}
		defer c.building.Unlock()
		var used []isolde.VersionRef
		for _, s := range c.cfg.Sessions.Sessions() {
			used = append(used, isolde.VersionRef{Runtime: s.Runtime, Number: s.Version})
		}
		keep, err := c.cfg.Store.Prune(ctx, c.cfg.KeepVersions, used)
		if err == nil {
			_, err = c.cfg.Builder.Collect(ctx, keep)
		}
		if err != nil && ctx.Err() == nil {
			c.cfg.Logger.Error("collect images", "err", err)
		}
	})
}

// collectStorage removes what sessions have stored under versions that no
// endpoint leads to any more. Sessions that run keep it until they end.
func (c *Catalog) collectStorage(ctx context.Context) {
	serving := make(map[isolde.RuntimeID][]isolde.Endpoint)
	c.cfg.Sessions.CollectStorage(func(id isolde.RuntimeID, v isolde.VersionNumber) bool {
		endpoints, ok := serving[id]
		if !ok {
			var err error
			if endpoints, err = c.cfg.Store.Endpoints(ctx, id); err != nil {
				return true // as far as is known
			}
			serving[id] = endpoints
		}
		return slices.ContainsFunc(endpoints, func(e isolde.Endpoint) bool { return e.Version == v })
	})
}

// Hold keeps all images where they are until release is called, which must be
// called once. Builds go on meanwhile.
func (c *Catalog) Hold() (release func()) {
	c.building.RLock()
	return func() {
		c.building.RUnlock()
		c.collectImages() // what was let be
	}
}
