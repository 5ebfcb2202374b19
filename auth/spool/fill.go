package spool

import (
	"crypto/sha256"
	"io"
)

// fill reads the body: first into a buffer of its own, then into chunks of
// the shared memory, then into a file.
func (b *Body) fill(r io.Reader, length int64) error {
	ended, err := b.fillSmall(r, length)
	if err != nil || ended {
		return err
	}
	h := newHasher()
	defer h.stop()
	start := b.small
	b.small = nil
	if ended, err = b.fillMemory(r, start, h); err == nil && !ended {
		err = b.fillDisk(r, h)
	}
	if err != nil {
		return err
	}
	b.size = b.used + b.onDisk
	b.sum = h.finish()
	return nil
}

// fillSmall reads up to small bytes, into a buffer that fits the declared
// length and grows where there is none.
func (b *Body) fillSmall(r io.Reader, length int64) (ended bool, err error) {
	size := int64(4 << 10)
	if length >= 0 {
		size = min(length, small) + 1 // the byte more is for finding the end
	}
	buf, n := make([]byte, size), 0
	for {
		m, ended, err := readFull(r, buf[n:])
		n += m
		if err != nil {
			return false, err
		}
		if ended {
			b.small, b.size, b.sum = buf[:n], int64(n), sha256.Sum256(buf[:n])
			return true, nil
		}
		if n > small {
			b.small = buf[:n]
			return false, nil
		}
		buf = append(buf, make([]byte, min(4*len(buf), small+1)-len(buf))...)
	}
}

// fillMemory reads into chunks, the first of which begins with what was read
// already, until there are no more.
func (b *Body) fillMemory(r io.Reader, start []byte, h *hasher) (ended bool, err error) {
	for !ended {
		chunk := b.spool.memory.get()
		if chunk == nil {
			break
		}
		b.chunks = append(b.chunks, chunk)
		n := copy(chunk, start)
		start = nil
		var m int
		m, ended, err = readFull(r, chunk[n:])
		b.used += int64(n + m)
		h.write(chunk[:n+m])
		if err != nil {
			return false, err
		}
	}
	if start == nil {
		return ended, nil
	}
	return ended, b.store(start, h) // there was no memory at all
}

// staging is how much a body on disk reads at a time.
const staging = 128 << 10

// fillDisk reads into the file until the end.
func (b *Body) fillDisk(r io.Reader, h *hasher) error {
	buf := make([]byte, staging)
	for {
		n, ended, err := readFull(r, buf)
		if err == nil {
			err = b.store(buf[:n], h)
		}
		if err != nil || ended {
			return err
		}
	}
}

// store appends to the file, which it makes if need be, and hashes
// meanwhile. A full disk is the same to the caller as a used-up budget.
func (b *Body) store(p []byte, h *hasher) error {
	n := int64(len(p))
	if n == 0 {
		return nil
	}
	if b.spool.disk.Add(-n) < 0 {
		b.spool.disk.Add(n)
		return errFull(nil)
	}
	if b.file == nil {
		f, err := openUnnamed(b.spool.folder)
		if err != nil {
			b.spool.disk.Add(n)
			return errFull(err)
		}
		b.file = f
	}
	b.onDisk += n
	h.write(p)
	_, err := b.file.Write(p)
	h.wait()
	if err != nil {
		return errFull(err)
	}
	return nil
}
