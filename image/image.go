// Package image makes the file systems that sandboxes start from, without a
// container engine: a folder with an entry point becomes an OCI image of
// three layers (base, dependencies, code), and the image becomes one
// read-only EROFS file.
//
// Everything is kept by content under one folder, so that a second build with
// unchanged dependencies installs nothing, and two versions share what they
// have in common.
package image

import (
	"context"
	"io"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Image is a built image, ready to start sandboxes from. Pure data.
type Image struct {
	Digest  string       // of the OCI manifest, "sha256:…"
	Root    sandbox.Root // EROFS file, and the host form where there is one
	Command []string     // argv in the root
	Env     []string     // "K=V"
	Dir     string       // working directory in the root
	UID     uint32
	GID     uint32
}

// Builder builds and keeps images. Safe for concurrent use.
type Builder interface {
	// Build makes the image of a source. Bad input is an *isolde.Error with
	// CodeInvalid whose message names the file or package at fault, and whose
	// Hint says what to do. Nothing is left of a build that failed but what
	// it can use again. progress is called in order, never concurrently.
	Build(ctx context.Context, src Source, progress func(Progress)) (Image, error)
	// Import makes the image of a container image: ref is a reference as docker
	// pull takes it, "oci:PATH[:TAG]" for an OCI layout or "docker-archive:PATH" for
	// the output of docker save, both on this machine. Registry credentials come from the Docker
	// configuration. Errors and progress are as Build's.
	Import(ctx context.Context, ref string, progress func(Progress)) (Image, error)
	// Open finds a built image by its digest; CodeNotFound if it is gone.
	Open(ctx context.Context, digest string) (Image, error)
	// Collect removes whatever no digest in keep needs, and returns the bytes
	// freed. Dependency layers stay as long as they were used in the last
	// days, so that a later build finds them.
	Collect(ctx context.Context, keep []string) (freed int64, err error)
}

// Source is a folder to build from.
type Source struct {
	Dir        string   // host folder, read during Build only
	Entrypoint []string // as in isolde.VersionSpec
	Language   isolde.Language
	// Runtime, if set, pins the interpreter, and takes the folder as an AWS code
	// artifact: the packages it needs are vendored at its root, nothing is
	// installed, and Entrypoint runs as it is. Language is then the runtime's.
	Runtime isolde.CodeRuntime
}

// Progress is one step of a build, for people.
type Progress struct {
	Stage   string `json:"stage"`   // "artifact", "base", "dependencies", "code", "image"
	Message string `json:"message"` // e.g. "installing 34 packages with uv"
	Cached  bool   `json:"cached,omitempty"`
}

// Unpack writes a tar stream, as [Pack] makes it, into dir. It refuses, with
// CodeInvalid, names that lead outside of dir, links that point outside, devices, and
// more than limit bytes or 200,000 entries.
func Unpack(r io.Reader, dir string, limit int64) error { return unpack(r, dir, limit) }

// UnpackZip writes the files of a zip archive of size bytes into dir. It refuses
// what [Unpack] refuses; limit bounds the bytes really unpacked, whatever the
// archive says of itself.
func UnpackZip(r io.ReaderAt, size int64, dir string, limit int64) error {
	return unpackZip(r, size, dir, limit)
}

// Pack writes the folder as a tar stream, without what a build never needs
// (.git, virtual environments, node_modules, caches) and what .isoldeignore
// names. Entries are sorted and carry no owner or time, so that equal folders
// give equal streams. Go modules of other folders that a go.mod replaces others
// with come last, and the go.mod finds them there.
func Pack(w io.Writer, dir string) error { return pack(w, dir) }
