package image

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/isolde-run/isolde"
)

// maxWindow bounds the memory that unpacking a zstd layer takes; zstd --ultra
// -22 makes the largest window that is usual.
const maxWindow = 128 << 20

var (
	errLonger  = errors.New("it has more bytes than its manifest says")
	errNoRoom  = errors.New("the image unpacks to more than is allowed")
	errStalled = errors.New("nothing came for too long")
)

// fetch brings a layer into the store: unpacked as it comes, and compared with
// the digests of both its forms before it gets its name.
func (p *pull) fetch(ctx context.Context, i int) (layer, error) {
	b := p.container.layers[i]
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(p.limits.stall, func() { cancel(errStalled) })
	defer stall.Stop()
	in, err := p.open(ctx, b)
	if err != nil {
		return layer{}, err
	}
	defer in.Close()
	source := &sourceReader{in: in, left: b.Size, seen: func() { stall.Reset(p.limits.stall) }}

	tmp, err := os.CreateTemp(p.tmp, "layer-")
	if err != nil {
		return layer{}, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	packed, plain := sha256.New(), sha256.New()
	size, err := p.unpackLayer(io.MultiWriter(tmp, plain), io.TeeReader(source, packed))
	switch {
	case errors.Is(err, errNoRoom):
		return layer{}, p.tooLarge()
	case errors.Is(source.err, errLonger):
		return layer{}, p.badLayer(i, source.err)
	case source.err != nil:
		if cause := context.Cause(ctx); cause != nil {
			source.err = cause
		}
		return layer{}, isolde.Errorf(isolde.CodeUnavailable, "%s broke off in layer %d of %s: %w", p.verb, i+1, p.name, source.err).
			WithHint("try again; the layers that are there already are not fetched again")
	case isDiskError(err):
		return layer{}, err
	case err != nil:
		return layer{}, p.badLayer(i, err)
	case b.Digest.Hex != "" && digestOf(packed) != b.Digest.String():
		return layer{}, p.badLayer(i, fmt.Errorf("its bytes are those of %s", digestOf(packed)))
	case digestOf(plain) != b.diffID.String():
		return layer{}, p.badLayer(i, fmt.Errorf("it unpacks to %s, and the image's configuration says %s", digestOf(plain), b.diffID))
	}
	l := layer{Digest: b.diffID.String(), Size: size}
	if err := tmp.Chmod(0o644); err != nil {
		return layer{}, err
	}
	return l, os.Rename(tmp.Name(), p.blob(l.Digest))
}

// badLayer is the error of a layer that is not what it should be.
func (c *container) badLayer(i int, err error) error {
	return isolde.Errorf(isolde.CodeInvalid, "layer %d of %s is damaged: %w", i+1, c.name, err).
		WithHint("build the image and push it again")
}

// isDiskError tells a fault of the store's files from one of a layer.
func isDiskError(err error) bool {
	_, ok := errors.AsType[*os.PathError](err)
	return ok
}

// unpackLayer writes what r holds, compressed or not, to w, and reads r to
// its end. Every byte that comes out is taken from the import's room.
func (p *pull) unpackLayer(w io.Writer, r io.Reader) (int64, error) {
	plain, err := decompress(r)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	buf := make([]byte, 256<<10)
	// Writers and readers are hidden, since their own ways of copying would
	// pass the count by or make smaller steps.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, &roomReader{plain, p}, buf)
	if err != nil {
		return n, err
	}
	_, err = io.Copy(io.Discard, r)
	return n, err
}

// decompress goes by the first bytes: media types are often wrong.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	start, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, gzipMagic):
		return gzip.NewReader(in)
	case bytes.HasPrefix(start, zstdMagic):
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// roomReader takes what it reads from an import's room.
type roomReader struct {
	io.Reader
	pull *pull
}

func (r *roomReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.pull.room.Add(-int64(n)) < 0 {
		return 0, errNoRoom
	}
	return n, err
}

// sourceReader reads a layer's bytes: as many as there should be.
type sourceReader struct {
	in   io.Reader
	left int64
	seen func() // called for what comes
	err  error  // why it ended, unless at its end
}

func (r *sourceReader) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		// A reader's own complaint at the end is left to the digests.
		if n, _ := r.in.Read(make([]byte, 1)); n > 0 {
			r.err = errLonger
			return 0, r.err
		}
		return 0, io.EOF
	}
	n, err := r.in.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	if n > 0 {
		r.seen()
	}
	switch {
	case r.left == 0:
		return n, nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	r.err = err
	return n, err
}
