package http1

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// response is the answer to a request: an http.ResponseWriter with what
// http.ResponseController asks for.
type response struct {
	c        *serverConn
	header   http.Header
	status   int   // 0 until WriteHeader
	length   int64 // as the handler declared it, or unknown
	written  int64 // bytes of the body
	begun    bool  // the head is complete, in c.out at least
	chunked  bool
	close    bool
	deadline bool // one for writing was set
}

const unknown = -1

// hold is how much of an answer is held back to learn its length, and flushed
// at once.
const hold = 4 << 10

func (w *response) Header() http.Header { return w.header }

// WriteHeader takes the header as it is now; informational answers are not
// sent.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	c := w.c
	if values := w.header[contentLength]; len(values) > 0 {
		if n, ok := parseLength(values[0]); ok && len(values) == 1 {
			w.length = n
		} else {
			delete(w.header, contentLength)
		}
	}
	w.close = wantsClose(w.header[connection]) || c.s.closing.Load()
	out := append(c.out[:0], "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(out, http.StatusText(status)...)
	out = append(out, "\r\n"...)
	for name, values := range w.header {
		if name == connection || name == transferEncoding || name == contentLength && !w.mayHaveBody() || !isToken(name) {
			continue
		}
		for _, v := range values {
			out = append(out, name...)
			out = append(out, ": "...)
			out = appendLine(out, v)
		}
	}
	if w.header[date] == nil {
		out = append(out, *now()...)
	}
	if w.close {
		out = append(out, "Connection: close\r\n"...)
	}
	c.out = out
	c.held = c.held[:0]
}

// appendLine ends a line with a value that must not hold another.
func appendLine(b []byte, v string) []byte {
	if strings.ContainsAny(v, "\r\n") {
		v = strings.NewReplacer("\r", " ", "\n", " ").Replace(v)
	}
	return append(append(b, v...), "\r\n"...)
}

func (w *response) mayHaveBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// begin completes the head. The length is that of the whole body, or unknown.
func (w *response) begin(length int64) {
	if w.begun {
		return
	}
	w.begun = true
	c := w.c
	held := c.held
	if len(held) > 0 && w.header[contentType] == nil && w.header["Content-Encoding"] == nil {
		c.out = append(c.out, "Content-Type: "+http.DetectContentType(held)+"\r\n"...)
	}
	switch {
	case w.length != unknown || !w.mayHaveBody():
	case length != unknown:
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, length, 10)
		c.out = append(c.out, "\r\n"...)
	default:
		w.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
	if len(held) > 0 {
		w.put(held)
		c.held = held[:0]
	}
}

// put appends a part of the body to what is to be written.
func (w *response) put(p []byte) {
	c := w.c
	if w.chunked {
		c.out = strconv.AppendInt(c.out, int64(len(p)), 16)
		c.out = append(c.out, "\r\n"...)
		c.out = append(c.out, p...)
		c.out = append(c.out, "\r\n"...)
	} else {
		c.out = append(c.out, p...)
	}
}

// Write holds little back until it is flushed, and writes much at once.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !w.mayHaveBody() {
		return 0, http.ErrBodyNotAllowed
	}
	if w.written += int64(len(p)); w.length != unknown && w.written > w.length {
		return 0, http.ErrContentLength
	}
	c := w.c
	if !w.begun {
		if len(c.held)+len(p) <= hold {
			c.held = append(c.held, p...)
			return len(p), nil
		}
		if len(c.held) == 0 && w.header[contentType] == nil && w.header["Content-Encoding"] == nil {
			c.out = append(c.out, "Content-Type: "+http.DetectContentType(p)+"\r\n"...)
		}
		w.begin(unknown)
	}
	if len(c.out)+len(p) <= 4*hold {
		w.put(p)
		if len(c.out) <= hold {
			return len(p), nil
		}
		return len(p), w.flush()
	}
	return len(p), w.writeLong(p)
}

// writeLong writes without copying.
func (w *response) writeLong(p []byte) error {
	c := w.c
	if !w.chunked {
		parts := net.Buffers{c.out, p}
		_, err := parts.WriteTo(c.net)
		c.out = c.out[:0]
		return err
	}
	c.out = strconv.AppendInt(c.out, int64(len(p)), 16)
	c.out = append(c.out, "\r\n"...)
	parts := net.Buffers{c.out, p, lineEnd}
	_, err := parts.WriteTo(c.net)
	c.out = c.out[:0]
	return err
}

var lineEnd = []byte("\r\n")

// spliceFrom writes n bytes of another connection, in the kernel.
func (w *response) spliceFrom(src *net.TCPConn, n int64) (moved int64, err error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.length == unknown {
		return copyBy(w, io.LimitReader(src, n))
	}
	if w.written+n > w.length || !w.mayHaveBody() {
		return 0, http.ErrContentLength
	}
	w.begin(unknown)
	if err := w.flush(); err != nil {
		return 0, err
	}
	moved, err = w.c.net.ReadFrom(&io.LimitedReader{R: src, N: n})
	w.written += moved
	return moved, err
}

// FlushError sends what was written, the head at least.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.begin(unknown)
	return w.flush()
}

// Flush is FlushError for callers that do not ask.
func (w *response) Flush() { _ = w.FlushError() }

func (w *response) flush() error {
	c := w.c
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.net.Write(c.out)
	c.out = c.out[:0]
	return err
}

// finish sends the rest of the answer.
func (w *response) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.begin(w.written)
	if w.chunked {
		w.c.out = append(w.c.out, lastChunk...)
	}
	if w.length != unknown && w.written != w.length && w.mayHaveBody() {
		w.close = true // the client sees that something is missing
	}
	return w.flush()
}

// SetReadDeadline bounds reads of the request's body.
func (w *response) SetReadDeadline(t time.Time) error { return w.c.net.SetReadDeadline(t) }

// SetWriteDeadline bounds writes of this answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.deadline = true
	return w.c.net.SetWriteDeadline(t)
}

// EnableFullDuplex is how this server always works.
func (w *response) EnableFullDuplex() error { return nil }

// now is the Date header of this second.
func now() *string {
	t := time.Now()
	if d := dates.Load(); d != nil && d.second == t.Unix() {
		return &d.line
	}
	d := &dated{t.Unix(), "Date: " + t.UTC().Format(http.TimeFormat) + "\r\n"}
	dates.Store(d)
	return &d.line
}

type dated struct {
	second int64
	line   string
}

var dates atomic.Pointer[dated]
