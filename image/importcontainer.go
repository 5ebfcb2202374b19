package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isolde-run/isolde"
)

// maxDocument bounds manifests and configurations.
const maxDocument = 8 << 20

// container is a container image where it comes from. Nothing of it is
// trusted that was not compared with its digest.
type container struct {
	name     string // for people: "HOST/NAME:TAG", or how a file was given
	verb     string // "pulling" or "reading"
	unpacked bool   // its layers are not compressed, so their sizes are others than a registry would tell
	raw      []byte // the configuration, byte for byte
	config   *v1.ConfigFile
	layers   []blob // lowest first
	// open opens a layer's bytes as they come; ctx ends reading them.
	open  func(ctx context.Context, b blob) (io.ReadCloser, error)
	close func()
}

// blob is a layer as a container holds it.
type blob struct {
	v1.Descriptor         // the digest is zero where the layer was not named by one
	diffID        v1.Hash // of what it unpacks to
	at            section // in an archive
}

// origin reads what manifests name. A manifest's bytes are checked against
// their digest, a blob's are not. Errors are for people.
type origin interface {
	manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// openContainer finds a container image by its reference.
func (s *Store) openContainer(ctx context.Context, ref string) (*container, error) {
	switch scheme, rest, _ := strings.Cut(ref, ":"); scheme {
	case "oci":
		return s.openLayout(ctx, ref, rest)
	case "docker-archive":
		return openArchive(ref, rest)
	}
	return s.openRegistry(ctx, ref)
}

// document is a manifest or an index of them: registries are not reliable in
// saying which they send.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	Manifests     []v1.Descriptor `json:"manifests"`
	Config        v1.Descriptor   `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
}

// maxIndexes is how many indexes may lead to a manifest.
const maxIndexes = 4

// read fills in c from its manifest, or from the one for this machine in an
// index. The configuration is not fetched if the store keeps it.
func (c *container) read(ctx context.Context, s *Store, o origin, raw []byte) error {
	doc, err := c.find(ctx, o, raw)
	if err != nil {
		return err
	}
	if t := doc.Config.MediaType; t != types.OCIConfigJSON && t != types.DockerConfigJSON {
		return isolde.Errorf(isolde.CodeInvalid, "%s is no container image but %s", c.name, orUnknown(brief(string(t)))).
			WithHint("name an image that docker run could run")
	}
	for _, d := range append([]v1.Descriptor{doc.Config}, doc.Layers...) {
		if d.Digest.Algorithm != "sha256" {
			return isolde.Errorf(isolde.CodeInvalid, "%s names its parts by digests of the kind %q; sha256 alone is known here", c.name, d.Digest.Algorithm).
				WithHint("build the image with docker buildx")
		}
	}
	if c.raw, err = s.keptDocument(doc.Config); err != nil {
		if c.raw, err = c.document(ctx, o, doc.Config); err != nil {
			return err
		}
	}
	for _, d := range doc.Layers {
		c.layers = append(c.layers, blob{Descriptor: d})
	}
	return c.readConfig()
}

// find follows indexes to the manifest for this machine.
func (c *container) find(ctx context.Context, o origin, raw []byte) (document, error) {
	for range maxIndexes {
		var doc document
		if err := json.Unmarshal(raw, &doc); err != nil {
			return doc, isolde.Errorf(isolde.CodeInvalid, "%s has a manifest that is no JSON", c.name).
				WithHint("is this the address of a container registry?").WithCause(err)
		}
		if doc.SchemaVersion == 1 {
			return doc, isolde.Errorf(isolde.CodeInvalid, "%s is an image in Docker's old format, schema 1", c.name).
				WithHint("build and push it again with docker buildx")
		}
		if len(doc.Manifests) == 0 {
			return doc, nil
		}
		d, err := c.choose(doc.Manifests)
		if err != nil {
			return doc, err
		}
		if raw, err = o.manifest(ctx, d); err != nil {
			return doc, err
		}
	}
	return document{}, isolde.Errorf(isolde.CodeInvalid, "%s leads through more than %d indexes", c.name, maxIndexes).
		WithHint("name the image itself, by its digest")
}

// choose finds the manifest for this machine in an index: the one without a
// variant (as amd64/v3 would be) where there are several. An entry that does
// not tell its platform is looked into if it is the only one.
func (c *container) choose(all []v1.Descriptor) (v1.Descriptor, error) {
	var fits, silent []v1.Descriptor
	var there []string
	for _, d := range all {
		switch p := d.Platform; {
		case p == nil:
			silent = append(silent, d)
		case p.OS == "linux" && p.Architecture == runtime.GOARCH:
			fits = append(fits, d)
		case p.OS != "unknown": // unknown are signatures and the like
			there = append(there, p.OS+"/"+p.Architecture)
		}
	}
	plain := slices.IndexFunc(fits, func(d v1.Descriptor) bool { return d.Platform.Variant == "" || d.Platform.Variant == "v8" })
	switch {
	case plain >= 0:
		return fits[plain], nil
	case len(fits) > 0:
		return fits[0], nil
	case len(silent) == 1:
		return silent[0], nil
	case len(silent) > 1:
		return v1.Descriptor{}, isolde.Errorf(isolde.CodeInvalid, "%s holds %d images and does not tell them apart", c.name, len(silent)).
			WithHint("name one by its digest, e.g. NAME@%s", silent[0].Digest)
	}
	return v1.Descriptor{}, c.otherPlatform(there)
}

func (c *container) otherPlatform(there []string) error {
	slices.Sort(there)
	list := strings.Join(slices.Compact(there), ", ")
	if list == "" {
		list = "no platform"
	}
	return isolde.Errorf(isolde.CodeInvalid, "%s has %s only; this machine is linux/%s", c.name, brief(list), runtime.GOARCH).
		WithHint("docker buildx build --platform linux/%s", runtime.GOARCH)
}

// readConfig reads the configuration in c.raw and gives the layers their diff
// ids.
func (c *container) readConfig() error {
	config, err := v1.ParseConfigFile(bytes.NewReader(c.raw))
	if err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "%s has a configuration that cannot be read: %w", c.name, err).WithHint("build the image again")
	}
	c.config = config
	ids := config.RootFS.DiffIDs
	if len(ids) != len(c.layers) {
		return isolde.Errorf(isolde.CodeInvalid, "%s has %d layers, but its configuration tells of %d", c.name, len(c.layers), len(ids)).
			WithHint("build the image again; what buildx caches are pushed as is no image")
	}
	for i, id := range ids {
		if id.Algorithm != "sha256" {
			return isolde.Errorf(isolde.CodeInvalid, "%s names its layers by digests of the kind %q; sha256 alone is known here", c.name, id.Algorithm).
				WithHint("build the image with docker buildx")
		}
		c.layers[i].diffID = id
	}
	return nil
}

// document reads a small blob and checks it against its digest.
func (c *container) document(ctx context.Context, o origin, d v1.Descriptor) ([]byte, error) {
	in, err := o.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := readDocument(in)
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s: cannot read %s: %w", c.name, d.Digest, err).WithHint("try again")
	}
	if sha256Of(b) != d.Digest.String() {
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s: what is stored as %s is something else", c.name, d.Digest).
			WithHint("build the image and push it again")
	}
	return b, nil
}

// readDocument reads all of a manifest or configuration.
func readDocument(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("it has more than %s", megabytes(maxDocument))
	}
	return b, err
}

// keptDocument is a configuration from the store.
func (s *Store) keptDocument(d v1.Descriptor) ([]byte, error) {
	f, err := os.Open(s.blob(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readDocument(f) // bounded: the digest may be that of a layer
	if err == nil && sha256Of(b) != d.Digest.String() {
		err = fmt.Errorf("blob %s is damaged", d.Digest)
	}
	return b, err
}

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func orUnknown(kind string) string {
	if kind == "" {
		return "of an unknown kind"
	}
	return kind
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
