package ws

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// readBuffer is what a connection reads by. Frames that fit pass from it
// without a copy.
const readBuffer = 4 << 10

// frames holds the larger ones, while they are under way only: a connection
// on which nothing passes holds its read buffer alone.
var frames = sync.Pool{New: func() any { return new([maxHeader + MaxFrame]byte) }}

func newMask() (mask [4]byte) {
	rand.Read(mask[:])
	return mask
}

// Conn is one side of a relay, after its handshake.
type Conn struct {
	net.Conn
	// Reader reads from the connection, and first what came with the handshake.
	Reader *bufio.Reader

	masks     bool // what it sends is masked: it is the client
	inMessage bool // between the first and the last frame of a message

	// turn is taken while a frame is written; a channel in place of a mutex,
	// as testing/synctest sees who waits for it. It guards what follows.
	turn   chan struct{}
	ended  bool // no further frame may be written
	broken bool // a frame was written in part
}

var errEnded = errors.New("the connection was told to close")

// receive reads one frame, header and payload as they came. The slice is
// valid until done is called. A frame that no peer may send is a *Closure.
func (c *Conn) receive() (h header, frame []byte, done func(), err error) {
	b, err := c.Reader.Peek(2)
	if err != nil {
		return h, nil, nil, err
	}
	n := headerSize(b[0], b[1])
	if b, err = c.Reader.Peek(n); err != nil {
		return h, nil, nil, err
	}
	if h, err = parseHeader(b); err != nil {
		return h, nil, nil, err
	}
	if err := c.admit(h); err != nil {
		return h, nil, nil, err
	}
	total := n + int(h.length)
	if total <= c.Reader.Size() {
		if b, err = c.Reader.Peek(total); err != nil {
			return h, nil, nil, err
		}
		return h, b, func() { _, _ = c.Reader.Discard(total) }, nil
	}
	pooled := frames.Get().(*[maxHeader + MaxFrame]byte)
	if _, err := io.ReadFull(c.Reader, pooled[:total]); err != nil {
		frames.Put(pooled)
		return h, nil, nil, err
	}
	return h, pooled[:total], func() { frames.Put(pooled) }, nil
}

// admit checks a frame where it stands.
func (c *Conn) admit(h header) error {
	switch {
	case h.masked != c.masks && c.masks:
		return violation("a frame of a client without a mask")
	case h.masked != c.masks:
		return violation("a frame of a server with a mask")
	case h.length > MaxFrame:
		return &Closure{CodeTooBig, fmt.Sprintf("a frame of %d bytes; at most %d are allowed", h.length, MaxFrame)}
	case h.op >= opClose:
		return nil
	case h.op == opContinuation && !c.inMessage:
		return violation("a continuation of no message")
	case h.op != opContinuation && c.inMessage:
		return violation("a new message before the last one ended")
	}
	c.inMessage = !h.final
	return nil
}

// send writes a frame whole; nothing follows the last one.
func (c *Conn) send(frame []byte, last bool) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.ended {
		return errEnded
	}
	n, err := c.Write(frame)
	c.broken = c.broken || n > 0 && n < len(frame)
	c.ended = last
	return err
}

// tell writes a last frame, the Close, unless one was written or the peer is
// past hearing it. It waits for a frame that is being written, until the
// deadline.
func (c *Conn) tell(closure *Closure, deadline time.Time) {
	_ = c.SetWriteDeadline(deadline)
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if !c.ended && !c.broken {
		c.ended = true
		if _, err := c.Write(closure.frame(!c.masks)); err != nil {
			return
		}
	}
	// The end of the stream lets a peer that waits for it close at once.
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
