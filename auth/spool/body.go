package spool

import (
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"sync"
)

// Body is a request body that is all there. It is read once; Close may come
// at any time and from another goroutine, as net/http's transport does it, and
// more than once. Bytes that a Read or WriteTo still uses stay until it returns.
type Body struct {
	spool *Spool
	size  int64
	sum   [sha256.Size]byte
	at    int64 // read so far

	small  []byte   // all of a small body
	chunks [][]byte // of a larger one, as far as memory went; each full but the last
	used   int64    // bytes in chunks
	file   *os.File // the rest; nil if there is none
	onDisk int64    // bytes in file

	mu      sync.Mutex
	readers int // inside Read or WriteTo
	closed  bool
}

// Len is how many bytes the body has.
func (b *Body) Len() int64 { return b.size }

// SHA256 is the hash of the body.
func (b *Body) SHA256() [sha256.Size]byte { return b.sum }

// Buffered is how many bytes can be read without waiting: all that are left.
func (b *Body) Buffered() int { return int(b.size - b.at) }

// Read reads on from where the last one ended.
func (b *Body) Read(p []byte) (int, error) {
	if !b.enter() {
		return 0, fs.ErrClosed
	}
	defer b.leave()
	if b.at == b.size {
		return 0, io.EOF
	}
	if rest := b.held(); rest != nil {
		n := copy(p, rest)
		b.at += int64(n)
		return n, nil
	}
	n, err := b.file.ReadAt(p[:min(int64(len(p)), b.size-b.at)], b.at-b.used)
	b.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// WriteTo writes the rest of the body, chunk by chunk without another copy;
// from a file to a socket the kernel carries it.
func (b *Body) WriteTo(w io.Writer) (written int64, err error) {
	if !b.enter() {
		return 0, fs.ErrClosed
	}
	defer b.leave()
	for err == nil {
		rest := b.held()
		if rest == nil {
			break
		}
		var n int
		n, err = w.Write(rest)
		written += int64(n)
		b.at += int64(n)
	}
	if err != nil || b.at == b.size {
		return written, err
	}
	if _, err := b.file.Seek(b.at-b.used, io.SeekStart); err != nil {
		return written, err
	}
	n, err := io.Copy(w, &io.LimitedReader{R: b.file, N: b.size - b.at})
	b.at += n
	return written + n, err
}

// held is what is in memory from where reading is, up to a chunk; nil where
// that is none.
func (b *Body) held() []byte {
	if b.at < int64(len(b.small)) {
		return b.small[b.at:]
	}
	if b.at >= b.used {
		return nil
	}
	n, from := b.at/chunkSize, b.at%chunkSize
	return b.chunks[n][from:min(chunkSize, b.used-n*chunkSize)]
}

// Close gives memory and disk back.
func (b *Body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.release()
	}
	return nil
}

func (b *Body) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.readers++
	return true
}

func (b *Body) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers--
	if b.closed {
		b.release()
	}
}

// release frees what a closed body held once nobody is inside. The caller
// holds mu.
func (b *Body) release() {
	if b.readers > 0 {
		return
	}
	for _, c := range b.chunks {
		b.spool.memory.put(c)
	}
	b.chunks, b.small = nil, nil
	if b.file != nil {
		b.file.Close()
		b.file = nil
		b.spool.disk.Add(b.onDisk)
	}
}
