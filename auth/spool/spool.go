// Package spool keeps request bodies back until all of them is there and
// hashed, within bounds of memory and disk that all bodies share.
package spool

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/isolde-run/isolde"
)

// small is how large a body may be that is in none of the budgets: the number
// of connections bounds those.
const small = 64 << 10

// Spool holds bodies. It is safe for concurrent use, and needs no Close:
// everything goes with the bodies.
type Spool struct {
	folder string
	memory pool
	disk   atomic.Int64 // bytes left
}

// New makes a spool. Of bodies over 64 KiB, it keeps memory bytes in memory
// and disk bytes in files of the folder that have no name and so vanish with
// the process; all of the server's bodies at once count. Beyond both,
// bodies are refused. Without a folder there is no disk.
func New(memory, disk int64, folder string) *Spool {
	s := &Spool{folder: folder}
	s.memory.init(memory)
	if folder != "" {
		s.disk.Store(disk)
	}
	return s
}

// Read reads a body to its end. length is what the request declared, -1
// where it did not; the body may have at most limit bytes. On an error nothing of the
// body is kept: an [isolde.Error] with CodeInvalid for a body over the limit, with
// CodeThrottled where there is no room, and else the reader's. The reader is
// left where it failed, and not closed.
func (s *Spool) Read(r io.Reader, length, limit int64) (*Body, error) {
	if length > limit {
		return nil, isolde.Errorf(isolde.CodeInvalid, "the payload has %d bytes; at most %d are allowed", length, limit)
	}
	b := &Body{spool: s}
	if err := b.fill(&bounded{r, limit, limit}, length); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// bounded passes at most left bytes and fails at the next one.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n == 0 {
			return 0, err
		}
		return 0, isolde.Errorf(isolde.CodeInvalid, "the payload has more than %d bytes, the most allowed", b.limit)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func errFull(cause error) error {
	return isolde.Errorf(isolde.CodeThrottled, "the server holds too many large bodies at once").
		WithHint("send it again in a moment, or have the operator give request bodies more memory and disk").WithCause(cause)
}

// readFull reads until p is full; ended says that the reader came to its end.
func readFull(r io.Reader, p []byte) (n int, ended bool, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	switch {
	case err == io.EOF: //nolint:errorlint // a Reader returns it bare
		return n, true, nil
	case err != nil:
		return n, false, fmt.Errorf("read payload: %w", err)
	}
	return n, false, nil
}
