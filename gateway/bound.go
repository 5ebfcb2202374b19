package gateway

import (
	"errors"
	"io"
	"sync/atomic"
)

var errBodyBound = errors.New("payload over the limit")

// boundedReader passes at most left bytes and fails on the next one, so that
// a body without a length cannot exceed the limit either.
type boundedReader struct {
	r    io.Reader
	left int64
	over atomic.Bool
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n == 0 {
			return 0, err
		}
		b.over.Store(true)
		return 0, errBodyBound
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Close does nothing: the body belongs to the HTTP server.
func (b *boundedReader) Close() error { return nil }

func (b *boundedReader) exceeded() bool { return b.over.Load() }
