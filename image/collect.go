package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// How long layers that no image needs stay after their last use: those of
// builds, and those of container images, which are larger and need no work.
const (
	keepUnused    = 7 * 24 * time.Hour
	keepContainer = 24 * time.Hour
)

// Collect removes what no digest in keep needs. What was made or used since
// the oldest running build of this process began stays as well; who returned
// from Build must put the digest in keep before the next Collect.
func (s *Store) Collect(ctx context.Context, keep []string) (freed int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &collection{Store: s, began: time.Now(), needed: map[string]bool{}}
	for _, began := range s.running {
		// File times come from a coarser clock than time.Now.
		if began = began.Add(-time.Second); began.Before(c.began) {
			c.began = began
		}
	}
	for _, digest := range keep {
		c.needed[digest] = true
	}
	for _, step := range []func() error{c.images, c.layers, c.blobs, c.folders, c.index} {
		if err := ctx.Err(); err != nil {
			return c.freed, context.Cause(ctx)
		}
		if err := step(); err != nil {
			return c.freed, fmt.Errorf("collect images: %w", err)
		}
	}
	if c.freed > 0 {
		s.log.Info("removed unused images", "bytes", c.freed)
	}
	return c.freed, nil
}

// collection is one run of Collect; the store's mutex is held.
type collection struct {
	*Store
	began  time.Time
	needed map[string]bool // digests of images and blobs, folders by their name in the store
	freed  int64
}

// images removes images, and notes what the ones that stay need.
func (c *collection) images() error {
	names, err := filepath.Glob(filepath.Join(c.dir, "images", "*.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		var r record
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if json.Unmarshal(b, &r) == nil && (c.needed[r.Digest] || c.recent(name, 0)) {
			if err := c.need(r); err != nil {
				return err
			}
			continue
		}
		if err := c.remove(name); err != nil {
			return err
		}
	}
	// An EROFS file without a record belongs to an image that is gone.
	files, err := filepath.Glob(filepath.Join(c.dir, "images", "*.erofs"))
	if err != nil {
		return err
	}
	for _, name := range files {
		if exists(strings.TrimSuffix(name, ".erofs")+".json") || c.recent(name, 0) {
			continue
		}
		if err := c.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// need notes what an image needs: its manifest, its configuration, layers
// and their plain folders.
func (c *collection) need(r record) error {
	c.needed[r.Digest] = true
	for _, l := range r.Layers {
		c.needed[l.Digest] = true
		c.needed[l.Folder] = true
	}
	f, err := os.Open(c.blob(r.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, err := v1.ParseManifest(f)
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", r.Digest, err)
	}
	c.needed[manifest.Config.Digest.String()] = true
	return nil
}

// layers removes records of layers that nobody needs: code at once, what a
// later build may want after a while.
func (c *collection) layers() error {
	names, err := filepath.Glob(filepath.Join(c.dir, "layers", "*.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		var l layer
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		grace := keepUnused
		switch kind, _, _ := strings.Cut(filepath.Base(name), "-"); kind {
		case folderCode:
			grace = 0
		case kindContainer:
			grace = keepContainer
		}
		if json.Unmarshal(b, &l) == nil && (c.needed[l.Digest] || c.recent(name, grace)) {
			c.needed[l.Digest], c.needed[l.Folder] = true, true
			continue
		}
		if err := c.remove(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) blobs() error {
	return c.sweepFolder(filepath.Join("oci", "blobs", "sha256"), func(name string) string { return "sha256:" + name })
}

func (c *collection) folders() error {
	for _, kind := range []string{folderCode, folderDependencies} {
		if err := c.sweepFolder(kind, func(name string) string { return filepath.Join(kind, name) }); err != nil {
			return err
		}
	}
	return nil
}

// sweepFolder removes what is in a folder of the store and not needed.
func (c *collection) sweepFolder(folder string, id func(name string) string) error {
	all, err := os.ReadDir(filepath.Join(c.dir, folder))
	if err != nil {
		return err
	}
	for _, e := range all {
		name := filepath.Join(c.dir, folder, e.Name())
		if c.needed[id(e.Name())] || c.recent(name, 0) {
			continue
		}
		if err := c.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// index drops the manifests that are gone from the OCI layout's index.
func (c *collection) index() error {
	return c.updateIndexLocked(func(index *v1.IndexManifest) {
		var left []v1.Descriptor
		for _, m := range index.Manifests {
			if c.needed[m.Digest.String()] {
				left = append(left, m)
			}
		}
		index.Manifests = left
	})
}

// recent tells whether a file was made or used since the oldest running build
// began, or within grace before that.
func (c *collection) recent(name string, grace time.Duration) bool {
	info, err := os.Lstat(name)
	return err == nil && info.ModTime().After(c.began.Add(-grace))
}

func (c *collection) remove(name string) error {
	size, err := diskSize(name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	c.freed += size
	return nil
}

// diskSize adds up the sizes of regular files.
func diskSize(name string) (size int64, err error) {
	err = filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
