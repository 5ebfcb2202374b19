package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of every file in a layer: the first that a zip archive,
// and so Python's zipfile, can hold.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// layer is a built layer: an uncompressed tar among the OCI blobs, so that
// its digest is its diff id as well and nothing is ever hashed twice.
type layer struct {
	Digest string `json:"digest"` // "sha256:…"
	Size   int64  `json:"size"`   // bytes
	// Folder is the plain form for drivers without a root of their own,
	// relative to the store; empty where there is none.
	Folder string `json:"folder,omitempty"`
}

// writeLayer writes t as a blob. Equal trees give equal blobs.
func (s *Store) writeLayer(ctx context.Context, t tree) (layer, error) {
	tmp, err := os.CreateTemp(s.tmp, "layer-")
	if err != nil {
		return layer{}, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()

	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(tmp, sum), 1<<20)
	if err := writeTar(ctx, out, t); err != nil {
		return layer{}, fmt.Errorf("write layer: %w", err)
	}
	if err := out.Flush(); err != nil {
		return layer{}, fmt.Errorf("write layer: %w", err)
	}
	size, err := tmp.Seek(0, io.SeekCurrent)
	if err != nil {
		return layer{}, err
	}
	l := layer{Digest: digestOf(sum), Size: size}
	if err := tmp.Chmod(0o644); err != nil {
		return layer{}, err
	}
	return l, os.Rename(tmp.Name(), s.blob(l.Digest))
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// writeTar writes t's entries in the order of their names.
func writeTar(ctx context.Context, w io.Writer, t tree) error {
	out := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name == "." || name == "" {
			continue
		}
		if err := writeEntry(out, name, t[name]); err != nil {
			return err
		}
	}
	return out.Close()
}

func writeEntry(out *tar.Writer, name string, e entry) error {
	header := &tar.Header{Name: name, Mode: int64(e.mode.Perm()), Uid: e.owner, Gid: e.owner, ModTime: epoch}
	if e.mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	switch e.mode.Type() {
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		return out.WriteHeader(header)
	case fs.ModeSymlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, e.target
		return out.WriteHeader(header)
	}
	content, size, err := e.open()
	if err != nil {
		return err
	}
	defer content.Close()
	header.Typeflag, header.Size = tar.TypeReg, size
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.CopyN(out, content, size); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return nil
}

// open opens a regular file's content.
func (e entry) open() (io.ReadCloser, int64, error) {
	if e.from == "" {
		return io.NopCloser(bytes.NewReader(e.data)), int64(len(e.data)), nil
	}
	f, err := os.Open(e.from)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// blobLayer makes a layer a v1.Layer whose digests are known.
type blobLayer struct {
	layer
	file string
}

func (b blobLayer) Digest() (v1.Hash, error)             { return v1.NewHash(b.layer.Digest) }
func (b blobLayer) DiffID() (v1.Hash, error)             { return v1.NewHash(b.layer.Digest) }
func (b blobLayer) Size() (int64, error)                 { return b.layer.Size, nil }
func (b blobLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (b blobLayer) Compressed() (io.ReadCloser, error)   { return os.Open(b.file) }
func (b blobLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(b.file) }

var _ v1.Layer = blobLayer{}
