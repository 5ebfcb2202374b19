package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Bodies up to inMemory are read before they are sent, and what is not more
// than inline goes out in one write with its head. So much fits in any socket's
// buffers: such a write never waits for a server that answers first.
const (
	inMemory = 64 << 10
	inline   = 16 << 10
)

// payload is the body of a request.
type payload struct {
	length int64         // -1: unknown
	memory []byte        // all of it, or
	body   io.ReadCloser // where it comes from; nil if memory is all
	source io.Closer     // of memory, too; nil if there is none

	sent chan struct{} // closed when a sender is done; nil if there is none
	err  error         // why the body could not be read; valid then
	rest bool          // not all of it was sent; valid then
}

// newPayload reads a small body into memory.
func newPayload(req *http.Request) (*payload, error) {
	p := &payload{length: req.ContentLength}
	if req.Body == nil || req.Body == http.NoBody {
		p.length = 0
		return p, nil
	}
	p.source = req.Body
	if p.length == 0 { // as net/http has it: unknown, if there is a body
		p.length = -1
	}
	if p.length < 0 || p.length > inMemory {
		p.body = req.Body
		return p, nil
	}
	if b, ok := req.Body.(interface{ Buffered() int }); !ok || int64(b.Buffered()) < p.length {
		stop := afterEnd(req.Context(), p.interrupt)
		defer stop()
	}
	p.memory = make([]byte, p.length)
	_, err := io.ReadFull(req.Body, p.memory)
	return p, err
}

// send sends what memory has left, or the body, beside the caller, since
// servers may answer before they have read all.
func (p *payload) send(c *conn, memory []byte) {
	p.sent = make(chan struct{})
	go func() {
		defer close(p.sent)
		var n int64
		var err error
		switch {
		case p.body == nil:
			var m int
			m, err = c.net.Write(memory)
			n = int64(m)
		case p.length < 0:
			n, p.err, err = sendChunked(c, p.body)
		default:
			n, err = c.write(p.body, p.length)
			if failed := (*ReadError)(nil); errors.As(err, &failed) {
				p.err = failed.Err
			}
		}
		if p.rest = p.err != nil || err != nil; p.err != nil {
			c.net.Close() // the server waits for more, and the answer's reader for the server
		}
		c.sent += uint64(n)
	}()
}

// write sends a body of known length.
func (c *conn) write(body io.Reader, length int64) (n int64, err error) {
	var to io.Writer = c.net
	if tcp, ok := c.net.(*net.TCPConn); ok {
		to = tcpWriter{tcp}
	}
	if _, ok := body.(io.WriterTo); !ok {
		body = io.LimitReader(body, length)
	}
	if n, err = Copy(to, body); err == nil && n != length {
		err = &ReadError{io.ErrUnexpectedEOF}
	}
	return n, err
}

// settleTime is how long an answer waits for a sender, as net/http's does.
const settleTime = 50 * time.Millisecond

// settle waits a moment for a sender that is probably done: the server has read
// all of the body as soon as the kernel has it, and may be faster to answer
// than the sender to return. Without it, both connections would be given up.
func (p *payload) settle() {
	if p.sent == nil {
		return
	}
	wait := time.NewTimer(settleTime)
	defer wait.Stop()
	select {
	case <-p.sent:
	case <-wait.C:
	}
}

// wait ends a sender that still runs and returns when it has.
func (p *payload) wait(c *conn) {
	if p.sent == nil {
		return
	}
	select {
	case <-p.sent:
		return
	default:
	}
	c.Close()
	p.interrupt()
	<-p.sent
}

// interrupt ends a Read of the body.
func (p *payload) interrupt() {
	if p.source != nil {
		p.source.Close()
	}
}

// chunkRoom is left before a chunk's data for its size, in hexadecimal digits.
const chunkRoom = 10

// sendChunked sends a body of unknown length, each part in one write. It tells
// apart why it could not go on: the body, or the connection.
func sendChunked(c *conn, body io.Reader) (n int64, bodyErr, connErr error) {
	buf := bulkBuffers.Get().(*[bulk]byte)
	defer bulkBuffers.Put(buf)
	for {
		got, err := body.Read(buf[chunkRoom : bulk-2])
		if got > 0 {
			m, err := c.net.Write(chunk(buf[:], got))
			n += int64(m)
			if err != nil {
				return n, nil, err
			}
		}
		switch {
		case err == io.EOF:
			m, err := c.net.Write(lastChunk)
			return n + int64(m), nil, err
		case err != nil:
			return n, err, nil
		}
	}
}

var lastChunk = []byte("0\r\n\r\n")

// chunk frames the n bytes of data at chunkRoom and returns the chunk.
func chunk(buf []byte, n int) []byte {
	size := strconv.AppendInt(make([]byte, 0, chunkRoom), int64(n), 16)
	start := chunkRoom - len(size) - 2
	copy(buf[start:], size)
	buf[chunkRoom-2], buf[chunkRoom-1] = '\r', '\n'
	buf[chunkRoom+n], buf[chunkRoom+n+1] = '\r', '\n'
	return buf[start : chunkRoom+n+2]
}
