package catalog

import (
	"context"
	"time"

	"github.com/isolde-run/isolde"
)

// collectTimeout bounds one collection, which is taken up by the next.
const collectTimeout = 5 * time.Minute

// collectImages removes, in the background, the versions that no endpoint and
// no session needs and that are not among the newest, and the images that no
// version names.
func (c *Catalog) collectImages() {
	if c.life.Err() != nil {
		return
	}
	c.collects.Go(func() {
		if !c.building.TryLock() {
			return // whoever builds will collect
		}
		defer c.building.Unlock()
		ctx, cancel := context.WithTimeout(c.life, collectTimeout)
		defer cancel()
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

// Hold keeps all images where they are until release is called, which must be
// called once. Builds go on meanwhile.
func (c *Catalog) Hold() (release func()) {
	c.building.RLock()
	return func() {
		c.building.RUnlock()
		c.collectImages() // what was let be
	}
}
