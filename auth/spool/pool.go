package spool

import (
	"sync"

	"golang.org/x/sys/unix"
)

const chunkSize = 256 << 10

// pool is memory in chunks, as much at once as the budget allows. They are
// mapped rather than allocated, so that what bodies gave back is the kernel's at
// once: the garbage collector would let a burst of bodies have twice the budget.
type pool struct {
	mu   sync.Mutex
	left int64    // bytes that may still be handed out
	keep int      // how many free chunks are kept mapped, as mapping costs
	free [][]byte // the last one given back is the first one taken: it may be in the processor's cache
}

func (p *pool) init(budget int64) {
	p.left = budget
	p.keep = int(budget / 4 / chunkSize)
}

// get returns a chunk with anything in it, nil where the budget or the
// machine has no more.
func (p *pool) get() []byte {
	p.mu.Lock()
	if p.left < chunkSize {
		p.mu.Unlock()
		return nil
	}
	p.left -= chunkSize
	if n := len(p.free); n > 0 {
		chunk := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return chunk
	}
	p.mu.Unlock()
	chunk, err := unix.Mmap(-1, 0, chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // as good as no budget
		p.mu.Lock()
		p.left += chunkSize
		p.mu.Unlock()
		return nil
	}
	return chunk
}

// put takes a chunk of get that nobody uses any more.
func (p *pool) put(chunk []byte) {
	p.mu.Lock()
	p.left += chunkSize
	if len(p.free) < p.keep {
		p.free = append(p.free, chunk)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	_ = unix.Munmap(chunk) // fails for what is not mapped alone
}
