package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image/erofs"
	"github.com/isolde-run/isolde/sandbox"
)

// Where things are in an image, and their plain form in the store.
const (
	codeDir         = "app"
	dependenciesDir = "opt/isolde/dependencies"

	folderDependencies = "dependencies"
	folderCode         = "code"
)

// format is part of every key: a change to what layers hold changes it, so
// that no store serves layers of an older Isolde.
const format = "2"

// language makes the layers of one kind of agent. The three layers of a build
// are made at the same time.
type language interface {
	// base makes the layer under all agents of the language on this machine.
	base(context.Context, *build) (layer, error)
	// dependencies makes the layer of what the agent's manifest names; a zero
	// layer if there is nothing.
	dependencies(context.Context, *build) (layer, error)
	// code makes the layer of the agent's own files.
	code(context.Context, *build) (layer, error)
	// start says what to run, once the layers are there.
	start(context.Context, *build) (start, error)
}

// start is how an image starts.
type start struct {
	command []string // argv in the image
	env     []string // added to the environment of every image
	host    *sandbox.HostRoot
}

// build is one run of Build.
type build struct {
	*Store
	src    Source
	report *reporter

	baseLayer, dependencyLayer, codeLayer layer
}

// Build makes the image of src, from what it has where it can.
func (s *Store) Build(ctx context.Context, src Source, progress func(Progress)) (Image, error) {
	defer s.began()()
	report := &reporter{to: progress}
	defer report.end()
	dir, err := filepath.Abs(src.Dir)
	if err != nil {
		return Image{}, fmt.Errorf("build image: %w", err)
	}
	src.Dir = dir
	b := &build{Store: s, src: src, report: report}
	lang, err := b.language(ctx)
	if err != nil {
		return Image{}, err
	}
	if err := b.layers(ctx, lang); err != nil {
		return Image{}, err
	}
	st, err := lang.start(ctx, b)
	if err != nil {
		return Image{}, err
	}
	return b.assemble(ctx, st)
}

// language finds out how the source is built, and checks its entry point.
func (b *build) language(ctx context.Context) (language, error) {
	if b.src.Runtime != "" {
		return b.vendored(ctx)
	}
	return detect(&b.src)
}

// layers makes the three layers at once; the first error ends the others.
func (b *build) layers(ctx context.Context, lang language) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, step := range []struct {
		stage string
		make  func(context.Context, *build) (layer, error)
		into  *layer
	}{
		{"base", lang.base, &b.baseLayer},
		{"dependencies", lang.dependencies, &b.dependencyLayer},
		{"code", lang.code, &b.codeLayer},
	} {
		group.Go(func() (err error) {
			if *step.into, err = step.make(ctx, b); err == nil {
				return nil
			}
			if _, ok := errors.AsType[*isolde.Error](err); ok {
				return err
			}
			return fmt.Errorf("build %s: %w", step.stage, err)
		})
	}
	return group.Wait()
}

// assemble makes the OCI image of the layers, and its EROFS file.
func (b *build) assemble(ctx context.Context, st start) (Image, error) {
	layers := []namedLayer{{b.baseLayer, "base"}}
	if b.dependencyLayer.Digest != "" {
		layers = append(layers, namedLayer{b.dependencyLayer, "dependencies"})
	}
	layers = append(layers, namedLayer{b.codeLayer, "code"})
	env := append(commonEnv(), st.env...)
	img, err := b.ociImage(layers, st.command, env)
	if err != nil {
		return Image{}, fmt.Errorf("build image: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("build image: %w", err)
	}
	r := record{Digest: digest.String(), Command: st.command, Env: env, Host: st.host}
	for _, l := range layers {
		r.Layers = append(r.Layers, l.layer)
	}
	if kept, ok := b.reuse(r.Digest); ok {
		b.report.say("image", true, "unchanged %s", shortDigest(r.Digest))
		return b.image(kept), nil
	}
	if err := b.writeOCI(img); err != nil {
		return Image{}, err
	}
	if r.Size, err = b.writeRoot(ctx, r); err != nil {
		return Image{}, fmt.Errorf("build image: %w", err)
	}
	if err := b.writeJSON(b.imageFile(r.Digest, ".json"), r); err != nil {
		return Image{}, fmt.Errorf("build image: %w", err)
	}
	b.report.say("image", false, "built %s, %s", shortDigest(r.Digest), megabytes(r.Size))
	return b.image(r), nil
}

// reuse returns an image that is kept, and marks it as used.
func (s *Store) reuse(digest string) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.record(digest)
	if err != nil {
		return record{}, false
	}
	s.touch(s.imageFile(digest, ".json"))
	return r, true
}

// writeRoot writes the EROFS file of an image and returns its size.
func (s *Store) writeRoot(ctx context.Context, r record) (int64, error) {
	out, err := os.CreateTemp(s.tmp, "root-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if err := s.flattenTo(ctx, out, r.Layers); err != nil {
		return 0, err
	}
	info, err := out.Stat()
	if err != nil {
		return 0, err
	}
	if err := out.Chmod(0o644); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(out.Name(), s.imageFile(r.Digest, ".erofs"))
}

func (s *Store) flattenTo(ctx context.Context, out *os.File, layers []layer) error {
	var open []openLayer
	defer func() {
		for _, l := range open {
			l.file.Close()
		}
	}()
	for _, l := range layers {
		f, err := os.Open(s.blob(l.Digest))
		if err != nil {
			return err
		}
		open = append(open, openLayer{file: f})
		if open[len(open)-1].items, err = s.indexes.of(l.Digest, f); err != nil {
			return err
		}
	}
	root, err := flatten(open)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return erofs.Write(out, root)
}

// commonEnv is the environment of every image. DOCKER_CONTAINER makes the
// official SDKs listen on all addresses; see §3.6 of the service contract.
func commonEnv() []string {
	return []string{
		"DOCKER_CONTAINER=1",
		"HOME=/" + agentHome,
		"LANG=C.UTF-8",
		"SSL_CERT_FILE=/" + certificates,
	}
}

// binPath is the PATH of images whose own folders, if any, come first.
const binPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// reporter hands progress on in order, and none after the build's end: work
// that others wait for may outlive the build that began it.
type reporter struct {
	mu sync.Mutex
	to func(Progress)
}

func (r *reporter) say(stage string, cached bool, message string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to != nil {
		r.to(Progress{Stage: stage, Message: fmt.Sprintf(message, args...), Cached: cached})
	}
}

func (r *reporter) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = nil
}

func shortDigest(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// hostEnv is what the plain form of an agent needs of this machine: where
// programs, certificates and the user's home are.
func (b *build) hostEnv(bin ...string) []string {
	path := append(bin, b.path)
	env := []string{"PATH=" + strings.Join(path, ":")}
	for _, file := range certificateFiles {
		if exists(file) {
			env = append(env, "SSL_CERT_FILE="+file)
			break
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		env = append(env, "HOME="+home)
	}
	return env
}
