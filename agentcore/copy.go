package agentcore

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/isolde-run/isolde/gateway"
)

// The sizes streams are copied by. A stream mostly waits, and so with the
// smaller one; while it fills that it gets the other.
const (
	waitBuffer = 4 << 10
	bulkBuffer = 256 << 10
)

var (
	waitBuffers = sync.Pool{New: func() any { return new([waitBuffer]byte) }}
	bulkBuffers = sync.Pool{New: func() any { return new([bulkBuffer]byte) }}
)

// copyWhole passes on an answer that is here as a whole. The invocation ends
// before it is written, so that a client which does not read holds nothing.
func copyWhole(w http.ResponseWriter, resp *gateway.Response) error {
	buf := waitBuffers.Get().(*[waitBuffer]byte)
	defer waitBuffers.Put(buf)
	n := 0
	for {
		m, err := resp.Body.Read(buf[n:])
		if n += m; err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil {
			break
		}
		if n == len(buf) {
			return errWhole
		}
	}
	resp.Body.Close()
	w.WriteHeader(resp.Status)
	_, err := w.Write(buf[:n])
	return err
}

var errWhole = errors.New("an answer that is here as a whole is longer than its connection's buffer")

// copyBody passes the answer on as it arrives.
func copyBody(w io.Writer, rc *http.ResponseController, resp *gateway.Response) error {
	if resp.Streams() {
		return copyStream(w, rc, resp)
	}
	_, err := resp.Body.WriteTo(w)
	return err
}

// copyStream flushes each part at once.
func copyStream(w io.Writer, rc *http.ResponseController, resp *gateway.Response) error {
	small := waitBuffers.Get().(*[waitBuffer]byte)
	defer waitBuffers.Put(small)
	if !resp.Body.Ready() {
		if err := rc.Flush(); err != nil { // the header, before the first part
			return err
		}
	}
	for {
		n, err := copyPart(w, rc, resp.Body, small[:])
		if n == len(small) && err == nil {
			err = copyMuch(w, rc, resp.Body)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyMuch copies by large parts for as long as they come.
func copyMuch(w io.Writer, rc *http.ResponseController, body io.Reader) error {
	buf := bulkBuffers.Get().(*[bulkBuffer]byte)
	defer bulkBuffers.Put(buf)
	for {
		n, err := copyPart(w, rc, body, buf[:])
		if n <= waitBuffer || err != nil {
			return err
		}
	}
}

// copyPart copies what one Read brings; io.EOF is the end of the body.
func copyPart(w io.Writer, rc *http.ResponseController, body io.Reader, buf []byte) (n int, err error) {
	n, err = body.Read(buf)
	if n > 0 {
		if _, err := w.Write(buf[:n]); err != nil {
			return n, err
		}
		if err == nil {
			err = rc.Flush()
		}
	}
	return n, err
}
