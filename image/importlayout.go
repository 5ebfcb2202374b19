package image

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isolde-run/isolde"
)

// ociLayout is a folder in the OCI image layout. It is read through an
// os.Root, so that no link in it leads out of it.
type ociLayout struct {
	c    *container
	root *os.Root
}

// What names an image in a layout's index: by the specification, and by
// containerd, whose first name is the tag alone.
const (
	nameAnnotation       = "org.opencontainers.image.ref.name"
	containerdAnnotation = "io.containerd.image.name"
)

var atDigestRE = regexp.MustCompile(`^(.*)@(sha256:[0-9a-f]{64})$`)

// openLayout finds an image in a layout: ref is "oci:" and rest.
func (s *Store) openLayout(ctx context.Context, ref, rest string) (*container, error) {
	folder, tag, digest := splitLayout(rest)
	if err := checkPath(ref, folder); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		if info, statErr := os.Stat(folder); statErr == nil && !info.IsDir() {
			return nil, isolde.Errorf(isolde.CodeInvalid, "%s is a file; oci: takes the folder of an OCI layout", folder).
				WithHint("unpack it with tar -xf into a folder, or name it docker-archive:%s if docker save wrote it", folder)
		}
		return nil, noFile(ref, folder, err)
	}
	l := &ociLayout{c: &container{name: ref, verb: "reading"}, root: root}
	l.c.open = func(ctx context.Context, b blob) (io.ReadCloser, error) { return l.blob(ctx, b.Descriptor) }
	l.c.close = func() { root.Close() }
	raw, err := l.top(ctx, folder, tag, digest)
	if err == nil {
		err = l.c.read(ctx, s, l, raw)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return l.c, nil
}

// splitLayout takes PATH, PATH:TAG and PATH@DIGEST apart. A tag may hold
// slashes and colons, a path no colon.
func splitLayout(rest string) (folder, tag, digest string) {
	if m := atDigestRE.FindStringSubmatch(rest); m != nil {
		return m[1], "", m[2]
	}
	folder, tag, _ = strings.Cut(rest, ":")
	return folder, tag, ""
}

// checkPath wants absolute paths: a relative one would be the caller's idea of
// a folder, and the server has another.
func checkPath(ref, file string) error {
	if filepath.IsAbs(file) {
		return nil
	}
	scheme, _, _ := strings.Cut(ref, ":")
	return isolde.Errorf(isolde.CodeInvalid, "%q does not name an absolute path", ref).
		WithHint("write %s:/PATH, a path on the machine of the server", scheme)
}

func noFile(ref, file string, err error) error {
	return isolde.Errorf(isolde.CodeNotFound, "cannot open %s", ref).
		WithHint("%s must be on the machine of the server, and readable for the user who runs it", file).WithCause(err)
}

// top is the manifest, or the index, that a tag or digest names.
func (l *ociLayout) top(ctx context.Context, folder, tag, digest string) ([]byte, error) {
	raw, index, err := l.index(folder)
	if err != nil {
		return nil, err
	}
	if digest != "" {
		h, err := v1.NewHash(digest)
		if err != nil {
			return nil, err
		}
		return l.manifest(ctx, v1.Descriptor{Digest: h})
	}
	var found []v1.Descriptor
	var tags []string
	for _, d := range index.Manifests {
		names := []string{d.Annotations[nameAnnotation], d.Annotations[containerdAnnotation]}
		if tag != "" && slices.ContainsFunc(names, func(n string) bool { return isTag(n, tag) }) {
			found = append(found, d)
		}
		tags = append(tags, longest(names))
	}
	tags = distinct(tags)
	switch {
	case tag == "" && len(tags) <= 1: // one image, for one platform or several
		return raw, nil
	case tag == "":
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s holds several images: %s", folder, strings.Join(tags, ", ")).
			WithHint("name one, as in oci:%s:%s", folder, tags[0])
	case len(found) == 0:
		return nil, noTag(l.c.name, tag, tags)
	}
	index.Manifests = found
	return json.Marshal(index)
}

// index reads the layout's index.json.
func (l *ociLayout) index(folder string) ([]byte, v1.IndexManifest, error) {
	var index v1.IndexManifest
	f, err := openRegular(l.root, "index.json")
	if err != nil {
		return nil, index, isolde.Errorf(isolde.CodeInvalid, "%s is no OCI layout: it has no index.json", folder).
			WithHint("docker buildx build --output type=oci,tar=false,dest=%s makes one", folder).WithCause(err)
	}
	defer f.Close()
	raw, err := readDocument(f)
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil || len(index.Manifests) == 0 {
		return nil, index, isolde.Errorf(isolde.CodeInvalid, "%s is no OCI layout with an image in it", path.Join(folder, "index.json")).
			WithHint("write the layout again").WithCause(err)
	}
	index.MediaType = types.OCIImageIndex
	return raw, index, nil
}

func (l *ociLayout) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	return l.c.document(ctx, l, d)
}

func (l *ociLayout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := openRegular(l.root, path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeNotFound, "%s has no blob %s", l.c.name, d.Digest).
			WithHint("write the layout again, with all platforms or for this one").WithCause(err)
	}
	return f, nil
}

// openRegular opens a regular file; others could wait for ever.
func openRegular(root *os.Root, file string) (*os.File, error) {
	info, err := root.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "open", Path: file, Err: os.ErrInvalid}
	}
	return root.Open(file)
}

// isTag tells whether an image that is called full, e.g.
// "docker.io/library/agent:1", is meant by want: all of it or its tag.
func isTag(full, want string) bool {
	return full == want || strings.HasSuffix(full, ":"+want) || strings.HasSuffix(full, "/"+want)
}

func noTag(ref, tag string, tags []string) error {
	if len(tags) == 0 {
		return isolde.Errorf(isolde.CodeNotFound, "%s: nothing is called %s there; its images have no names", ref, tag).
			WithHint("leave the name out")
	}
	return isolde.Errorf(isolde.CodeNotFound, "%s: nothing is called %s there; there are %s", ref, tag, strings.Join(tags, ", ")).
		WithHint("name one of these")
}

func longest(names []string) string {
	return slices.MaxFunc(names, func(a, b string) int { return len(a) - len(b) })
}

// distinct sorts names and drops empty and repeated ones.
func distinct(names []string) []string {
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
}
