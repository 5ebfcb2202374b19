package gateway

import (
	"errors"
	"io"

	"github.com/isolde-run/isolde/http1"
)

// requestBody is the body of the request to the agent.
type requestBody struct {
	io.Reader
	interrupter // may be nil
}

// interrupter is a body whose Read can be ended from outside: the agent may
// answer, or the session end, while the client's next byte is waited for.
type interrupter interface{ Interrupt() }

// Close ends a Read. What is left of the body stays the HTTP server's.
func (b *requestBody) Close() error {
	if b.interrupter != nil {
		b.Interrupt()
	}
	return nil
}

// Buffered is how many bytes can be read without waiting.
func (b *requestBody) Buffered() int {
	if r, ok := b.Reader.(interface{ Buffered() int }); ok {
		return r.Buffered()
	}
	return 0
}

// WriteTo is for http1.Copy.
func (b *requestBody) WriteTo(w io.Writer) (int64, error) { return http1.Copy(w, b.Reader) }

var errBodyBound = errors.New("payload over the limit")

// boundedReader passes at most left bytes and fails on the next one, so that
// a body without a length cannot exceed the limit either. Its users are one
// after the other: who sends the body, then who asks whether it was too long.
type boundedReader struct {
	r    io.Reader
	left int64
	over bool
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n == 0 {
			return 0, err
		}
		b.over = true
		return 0, errBodyBound
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
