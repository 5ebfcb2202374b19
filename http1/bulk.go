package http1

import (
	"errors"
	"io"
	"net"
	"sync"
)

// bulk is what long bodies are copied by where the kernel cannot carry them,
// measured in bench/ Bulk: with 64 KiB 100 MB take 1.5 times as long.
const bulk = 256 << 10

var bulkBuffers = sync.Pool{New: func() any { return new([bulk]byte) }}

// ReadError is what Copy failed with if the source did, not the destination.
type ReadError struct{ Err error }

// Error is the source's.
func (e *ReadError) Error() string { return e.Err.Error() }

// Unwrap returns the source's error.
func (e *ReadError) Unwrap() error { return e.Err }

// Copy carries a body: within the kernel where both ends are TCP connections
// of this package and the length is known, else 256 KiB at a time. Wrappers
// pass it on with a WriteTo that calls Copy. An error is a *ReadError or dst's.
func Copy(dst io.Writer, src io.Reader) (n int64, err error) {
	if w, ok := src.(io.WriterTo); ok {
		return w.WriteTo(dst)
	}
	return copyBy(dst, src)
}

func copyBy(dst io.Writer, src io.Reader) (n int64, err error) {
	buf := bulkBuffers.Get().(*[bulk]byte)
	defer bulkBuffers.Put(buf)
	for {
		got, err := src.Read(buf[:])
		if got > 0 {
			m, err := dst.Write(buf[:got])
			n += int64(m)
			if err != nil {
				return n, err
			}
		}
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, &ReadError{err}
		}
	}
}

// splicer is a destination that takes bytes of a connection from the kernel.
type splicer interface {
	// spliceFrom moves n bytes. Short without an error is the end of src.
	spliceFrom(src *net.TCPConn, n int64) (int64, error)
}

// tcpWriter is a splicer to a connection.
type tcpWriter struct{ *net.TCPConn }

func (w tcpWriter) spliceFrom(src *net.TCPConn, n int64) (int64, error) {
	return w.ReadFrom(&io.LimitedReader{R: src, N: n})
}

// splice moves the rest of a body, n bytes, from a connection whose reader has
// no more buffered. ok is false if dst cannot.
func splice(dst io.Writer, src net.Conn, n int64) (moved int64, ok bool, err error) {
	from, ok := src.(*net.TCPConn)
	if !ok {
		return 0, false, nil
	}
	to, ok := dst.(splicer)
	if !ok {
		return 0, false, nil
	}
	moved, err = to.spliceFrom(from, n)
	switch {
	case err == nil && moved < n:
		err = &ReadError{io.ErrUnexpectedEOF}
	case err != nil:
		// The kernel does not say which end failed; the source, if it is no
		// longer open.
		if open, openErr := hasMore(from); !open || openErr != nil {
			err = &ReadError{errors.Join(err, openErr)}
		}
	}
	return moved, true, err
}
