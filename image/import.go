package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image/erofs"
)

// The bounds of a container image. What is packed is what its manifest says
// of its layers, and the limit is AgentCore's; what is unpacked is counted as
// it is written, so that a decompression bomb ends at its bound.
const (
	MaxContainerPacked   = 2_000_000_000 // bytes of all layers, compressed
	MaxContainerUnpacked = 10 << 30      // bytes of all layers
	MaxContainerEntries  = 500_000       // files, folders and links in all layers
	MaxContainerLayers   = 256
)

// limits are those bounds as a store has them.
type limits struct {
	packed, unpacked int64
	entries, layers  int
	stall            time.Duration // how long a download may bring nothing
}

var containerLimits = limits{MaxContainerPacked, MaxContainerUnpacked, MaxContainerEntries, MaxContainerLayers, time.Minute}

// parallelLayers is how many layers of an image are fetched at once.
const parallelLayers = 4

// kindContainer is the kind of layers from container images, among layers/.
// They are known by what they hold unpacked, so that one layer is kept once,
// whichever registry or archive it came from and however it was compressed.
const kindContainer = "container"

// Import makes the image of a container image. Of its configuration ENTRYPOINT,
// CMD, ENV, WORKDIR, USER and VOLUME (as folders) count; EXPOSE, HEALTHCHECK, STOPSIGNAL
// and further groups of the user do not. Devices, sockets and extended
// attributes, and so the capabilities of files, are left out.
//
// A layer that is kept is not fetched again; what an import that failed leaves
// are such layers. [isolde.FolderImageURI] stands for the image it names. Beside
// CodeInvalid, errors carry CodeNotFound for an image that does not exist,
// CodeDenied for one the server may not pull, CodeThrottled and
// CodeUnavailable for a registry that turns away or cannot be reached, and
// CodeQuota for a full disk.
func (s *Store) Import(ctx context.Context, ref string, progress func(Progress)) (Image, error) {
	defer s.began()()
	report := &reporter{to: progress}
	defer report.end()
	if digest, ok := isolde.FolderImage(ref); ok {
		return s.folderImage(ref, digest)
	}
	img, err := s.importContainer(ctx, ref, report)
	switch {
	case err == nil:
		return img, nil
	case ctx.Err() != nil:
		return Image{}, context.Cause(ctx)
	case errors.Is(err, syscall.ENOSPC):
		return Image{}, isolde.Errorf(isolde.CodeQuota, "the disk of the image store is full").
			WithHint("free space where the server keeps its data").WithCause(err)
	}
	if _, ok := errors.AsType[*isolde.Error](err); ok {
		return Image{}, err
	}
	return Image{}, fmt.Errorf("import image: %w", err)
}

// folderImage opens what a folder was built to before.
func (s *Store) folderImage(ref, digest string) (Image, error) {
	if !digestRE.MatchString(digest) {
		return Image{}, isolde.Errorf(isolde.CodeInvalid, "%q must end with @sha256: and 64 hexadecimal digits", ref).
			WithHint("take the URI as the API shows it")
	}
	r, ok := s.reuse(digest)
	if !ok {
		return Image{}, isolde.Errorf(isolde.CodeNotFound, "%s was built from a folder on this server and is not kept any more", ref).
			WithHint("deploy the folder again, with isolde deploy")
	}
	return s.image(r), nil
}

func (s *Store) importContainer(ctx context.Context, ref string, report *reporter) (Image, error) {
	c, err := s.openContainer(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	defer c.close()
	if err := c.check(s.limits); err != nil {
		return Image{}, err
	}
	p := &pull{Store: s, container: c, report: report}
	layers, err := p.layers(ctx)
	if err != nil {
		return Image{}, err
	}
	manifest, err := c.manifest(layers)
	if err != nil {
		return Image{}, err
	}
	r := record{Digest: sha256Of(manifest), Layers: layers}
	if kept, ok := s.reuse(r.Digest); ok {
		report.say("image", true, "unchanged %s", shortDigest(r.Digest))
		return s.image(kept), nil
	}
	if err := p.writeRoot(ctx, &r); err != nil {
		return Image{}, err
	}
	if err := s.writeContainer(c.raw, manifest, r.Digest); err != nil {
		return Image{}, err
	}
	if err := s.writeJSON(s.imageFile(r.Digest, ".json"), r); err != nil {
		return Image{}, err
	}
	report.say("image", false, "built %s, %s", shortDigest(r.Digest), megabytes(r.Size))
	return s.image(r), nil
}

// check refuses an image that cannot run here before anything of it is
// fetched.
func (c *container) check(max limits) error {
	if os, arch := c.config.OS, c.config.Architecture; (os != "" && os != "linux") || (arch != "" && arch != runtime.GOARCH) {
		return c.otherPlatform([]string{os + "/" + arch})
	}
	if len(c.config.Config.Entrypoint)+len(c.config.Config.Cmd) == 0 {
		return isolde.Errorf(isolde.CodeInvalid, "%s does not say what to run: its ENTRYPOINT and CMD are both empty", c.name).
			WithHint(`add a line like CMD ["python", "agent.py"] to its Dockerfile`)
	}
	if err := checkStrings(c.name, &c.config.Config); err != nil {
		return err
	}
	if n := len(c.layers); n > max.layers {
		return isolde.Errorf(isolde.CodeInvalid, "%s has %d layers; at most %d are allowed", c.name, n, max.layers).
			WithHint("join RUN and COPY lines of its Dockerfile, or use a multi-stage build")
	}
	var packed int64
	for _, l := range c.layers {
		if l.Size < 0 {
			return isolde.Errorf(isolde.CodeInvalid, "%s names a layer of %d bytes", c.name, l.Size).WithHint("build the image again")
		}
		packed += min(l.Size, math.MaxInt64/int64(max.layers))
	}
	if !c.unpacked && packed > max.packed {
		return isolde.Errorf(isolde.CodeInvalid, "%s has %s in its layers; at most %s are allowed, compressed", c.name, megabytes(packed), megabytes(max.packed)).
			WithHint("start from a slim base image, and leave build tools out with a multi-stage build")
	}
	return nil
}

// pull is one import's way to its layers.
type pull struct {
	*Store
	*container
	report *reporter
	room   atomic.Int64 // bytes that may still be unpacked
}

// layers brings all layers into the store, those that are not there yet.
func (p *pull) layers(ctx context.Context) ([]layer, error) {
	done := make([]layer, len(p.container.layers))
	var missing []int
	var size int64
	p.room.Store(p.limits.unpacked)
	for i, b := range p.container.layers {
		var ok bool
		if done[i], ok = p.kept(p.layerFile(kindContainer, b.diffID.Hex)); ok {
			p.room.Add(-done[i].Size)
			continue
		}
		missing = append(missing, i)
		size += b.Size
	}
	if len(missing) == 0 {
		p.report.say("artifact", true, "%s of %s, all kept", plural(len(done), "layer"), p.name)
	} else {
		p.report.say("artifact", false, "%s %s, %s, of %s", p.verb, plural(len(missing), "layer"), megabytes(size), p.name)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for _, i := range missing {
		group.Go(func() (err error) {
			done[i], err = p.layer(groupCtx, i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var unpacked int64
	for _, l := range done {
		unpacked += l.Size
	}
	if unpacked > p.limits.unpacked {
		return nil, p.tooLarge()
	}
	return done, nil
}

// layer brings one layer into the store. When another import that fetched it
// fails, for reasons that may be its own alone, this one tries itself.
func (p *pull) layer(ctx context.Context, i int) (layer, error) {
	for {
		l, joined, err := p.keyed(ctx, kindContainer, p.container.layers[i].diffID.Hex, nil, func(ctx context.Context) (layer, error) {
			return p.fetch(ctx, i)
		})
		if err == nil || !joined || ctx.Err() != nil {
			return l, err
		}
	}
}

func (p *pull) tooLarge() error {
	return isolde.Errorf(isolde.CodeInvalid, "%s unpacks to more than %s", p.name, megabytes(p.limits.unpacked)).
		WithHint("leave out of the image what the agent does not need, or fetch it when the agent starts")
}

// writeRoot writes the EROFS file of the layers in r, and fills in what r is
// still to say.
func (p *pull) writeRoot(ctx context.Context, r *record) error {
	out, err := os.CreateTemp(p.tmp, "root-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	defer closeAll()
	for _, l := range r.Layers {
		f, err := os.Open(p.blob(l.Digest))
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	// Gigabytes may have to be read, which a cancelled import does not wait for.
	defer context.AfterFunc(ctx, closeAll)()
	root, err := p.flatten(ctx, files, r)
	if err != nil {
		return err
	}
	if err := erofs.Write(out, root); err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	r.Size = info.Size()
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	return os.Rename(out.Name(), p.imageFile(r.Digest, ".erofs"))
}

// manifest is the manifest of the image as the store keeps it: with the
// configuration that it came with, over unpacked layers. It depends on what
// the image holds alone, and not on where it was fetched from.
func (c *container) manifest(layers []layer) ([]byte, error) {
	config, err := v1.NewHash(sha256Of(c.raw))
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(c.raw)), Digest: config},
		Layers:        []v1.Descriptor{},
	}
	for i, l := range layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: l.Size, Digest: c.layers[i].diffID})
	}
	return json.Marshal(m)
}

// writeContainer writes a configuration and a manifest beside their layers,
// and lists the image in the layout's index.
func (s *Store) writeContainer(config, manifest []byte, digest string) error {
	for _, b := range [][]byte{config, manifest} {
		if err := s.writeFile(s.blob(sha256Of(b)), b); err != nil {
			return fmt.Errorf("write OCI image: %w", err)
		}
	}
	h, err := v1.NewHash(digest)
	if err != nil {
		return err
	}
	return s.list(v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: h})
}
