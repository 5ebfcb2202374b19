package spool

import (
	"crypto/sha256"
	"hash"
	"sync"
)

// hasher hashes on a goroutine of its own, so that a large body is read and
// hashed at the same time.
type hasher struct {
	h       hash.Hash
	in      chan []byte
	pending sync.WaitGroup // pieces not hashed yet
}

func newHasher() *hasher {
	h := &hasher{h: sha256.New(), in: make(chan []byte, 4)}
	go func() {
		for p := range h.in {
			h.h.Write(p)
			h.pending.Done()
		}
	}()
	return h
}

// write hashes p at some time before the next wait, until when p stays as it is.
func (h *hasher) write(p []byte) {
	h.pending.Add(1)
	h.in <- p
}

func (h *hasher) wait() { h.pending.Wait() }

// finish waits and returns the sum.
func (h *hasher) finish() (sum [sha256.Size]byte) {
	h.wait()
	h.h.Sum(sum[:0])
	return sum
}

// stop waits and ends the goroutine, which uses no piece from then on.
func (h *hasher) stop() {
	h.wait()
	close(h.in)
}
