package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// namedLayer is a layer with what made it, for the image's history.
type namedLayer struct {
	layer
	stage string
}

// ociImage makes the OCI image of layers, lowest first. It depends on nothing
// else, so that equal layers and commands give one digest.
func (s *Store) ociImage(layers []namedLayer, command, env []string) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	var add []mutate.Addendum
	for _, l := range layers {
		add = append(add, mutate.Addendum{
			Layer:   blobLayer{l.layer, s.blob(l.Digest)},
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "isolde " + l.stage},
		})
	}
	img, err := mutate.Append(img, add...)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: epoch}
	user := strconv.Itoa(agentID)
	config.Config = v1.Config{Cmd: command, Env: env, WorkingDir: "/" + codeDir, User: user + ":" + user}
	return mutate.ConfigFile(img, config)
}

// writeOCI writes the manifest and the configuration of img beside its
// layers, and lists it in the layout's index.
func (s *Store) writeOCI(img v1.Image) error {
	if err := s.layout().WriteImage(img); err != nil {
		return fmt.Errorf("write OCI image: %w", err)
	}
	d, err := partial.Descriptor(img)
	if err != nil {
		return err
	}
	return s.list(*d)
}

// list adds an image for this machine to the layout's index.
func (s *Store) list(d v1.Descriptor) error {
	d.Platform = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	return s.updateIndex(func(index *v1.IndexManifest) {
		if !slices.ContainsFunc(index.Manifests, func(m v1.Descriptor) bool { return m.Digest == d.Digest }) {
			index.Manifests = append(index.Manifests, d)
		}
	})
}

// updateIndex changes the layout's index.json; s.mu is taken.
func (s *Store) updateIndex(change func(*v1.IndexManifest)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updateIndexLocked(change)
}

func (s *Store) updateIndexLocked(change func(*v1.IndexManifest)) error {
	name := filepath.Join(string(s.layout()), "index.json")
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if b, err := os.ReadFile(name); err == nil {
		if err := json.Unmarshal(b, &index); err != nil {
			return fmt.Errorf("read OCI index: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	change(&index)
	return s.writeJSON(name, index)
}

// layout is the OCI layout of all images in the store.
func (s *Store) layout() layout.Path { return layout.Path(filepath.Join(s.dir, "oci")) }

// blob is the file of a blob by its digest, "sha256:…".
func (s *Store) blob(digest string) string {
	h, err := v1.NewHash(digest)
	if err != nil {
		return filepath.Join(s.dir, "oci", "invalid")
	}
	return filepath.Join(s.dir, "oci", "blobs", h.Algorithm, h.Hex)
}
