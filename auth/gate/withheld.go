package gate

import (
	"errors"
	"hash"
	"io"

	"github.com/isolde-run/isolde/auth/sigv4"
)

// holdBack is how much of a body is withheld until its hash was compared, in
// bytes; smaller bodies are withheld as a whole.
const holdBack = 64 << 10

// withheld passes a body on but for its end, which comes when the body turned
// out to be the one that was signed. Of another one there is an error in its place.
type withheld struct {
	r       io.ReadCloser
	pending *sigv4.Pending
	hash    hash.Hash
	buf     []byte // read, and from at on not passed on
	at      int
	err     error // how it ended; io.EOF when all is well
}

// Read implements io.Reader.
func (b *withheld) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil && len(b.buf)-b.at <= holdBack {
		b.fill()
	}
	ready := b.buf[b.at:]
	if b.err == nil {
		ready = ready[:len(ready)-holdBack]
	}
	n := copy(p, ready)
	if b.at += n; n == 0 {
		return 0, b.err
	}
	return n, nil
}

// fill reads on.
func (b *withheld) fill() {
	if b.buf == nil {
		b.buf = make([]byte, 0, 2*holdBack)
	}
	if b.at > 0 {
		b.buf = b.buf[:copy(b.buf, b.buf[b.at:])]
		b.at = 0
	}
	n, err := b.r.Read(b.buf[len(b.buf):cap(b.buf)])
	b.buf = b.buf[:len(b.buf)+n]
	b.hash.Write(b.buf[len(b.buf)-n:])
	if errors.Is(err, io.EOF) {
		_, wrong := b.pending.Finish([32]byte(b.hash.Sum(nil)))
		if err = io.EOF; wrong != nil {
			err = wrong
		}
	}
	if b.err = err; err != nil && !errors.Is(err, io.EOF) {
		b.buf, b.at = nil, 0 // what was withheld stays so
	}
}

// Close implements io.Closer.
func (b *withheld) Close() error { return b.r.Close() }
