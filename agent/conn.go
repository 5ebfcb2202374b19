package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
	"unicode/utf8"
)

// MessageType is what a WebSocket message holds.
type MessageType byte

const (
	// Text is UTF-8.
	Text MessageType = 1
	// Binary is anything.
	Binary MessageType = 2
)

// maxFrame is what a message is sent in pieces of: AgentCore takes frames of
// up to 32 KiB everywhere.
const maxFrame = 32 << 10

// closeWait is how long a peer may take to say goodbye.
const closeWait = 2 * time.Second

// Conn is a WebSocket connection to a client. All of its methods are safe for
// concurrent use. Pings are answered while a handler does other things, as
// long as the client has not sent more than one message that nobody reads.
type Conn struct {
	conn     net.Conn
	read     *bufio.Reader
	limit    int // of a message, in bytes
	messages chan message
	ctx      context.Context // of the handler; ends with the connection
	end      context.CancelCauseFunc
	ended    chan struct{} // closed when nothing is read any more

	mu     sync.Mutex // guards writing
	closed bool       // a Close frame was sent, or a frame in part
}

type message struct {
	typ  MessageType
	data []byte
}

func newConn(ctx context.Context, conn net.Conn, read *bufio.Reader, limit int) *Conn {
	c := &Conn{conn: conn, read: read, limit: limit, messages: make(chan message), ended: make(chan struct{})}
	c.ctx, c.end = context.WithCancelCause(ctx)
	go c.receive()
	return c
}

// Read returns the next message. When the client closed the connection the
// error is a [*CloseError]. That ctx ends does the connection no harm.
func (c *Conn) Read(ctx context.Context) (MessageType, []byte, error) {
	select {
	case m := <-c.messages:
		return m.typ, m.data, nil
	case <-c.ctx.Done():
		return 0, nil, context.Cause(c.ctx)
	case <-ctx.Done():
		return 0, nil, context.Cause(ctx)
	}
}

// ReadJSON reads a message into v. One that is no JSON for v is an error, and
// the next can be read.
func (c *Conn) ReadJSON(ctx context.Context, v any) error {
	_, data, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	return nil
}

// Write sends a message. If ctx ends meanwhile the connection does as well,
// since the client has a part of it.
func (c *Conn) Write(ctx context.Context, typ MessageType, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	opcode := byte(typ)
	for len(data) > maxFrame {
		if err := c.writeFrame(ctx, false, opcode, data[:maxFrame]); err != nil {
			return err
		}
		data, opcode = data[maxFrame:], opContinuation
	}
	return c.writeFrame(ctx, true, opcode, data)
}

// WriteJSON sends v as a text message.
func (c *Conn) WriteJSON(ctx context.Context, v any) error {
	data, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	return c.Write(ctx, Text, data)
}

// Close tells the client why the connection ends, with a code of RFC 6455 and
// at most 123 bytes of reason, and waits a moment for it to agree. Closing
// twice does nothing.
func (c *Conn) Close(code int, reason string) {
	c.bye(&CloseError{code, reason})
	c.end(net.ErrClosed)
	select {
	case <-c.ended:
	case <-time.After(closeWait):
	}
	c.conn.Close()
	<-c.ended
}

// bye sends a Close frame, unless one was sent. A message that its client does
// not take is not waited for: it breaks off.
func (c *Conn) bye(e *CloseError) {
	hurry := time.AfterFunc(closeWait, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer hurry.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = c.writeFrame(ctx, true, opClose, e.payload()) // to a client that is gone
	c.closed = true
}

// writeFrame is called with mu held.
func (c *Conn) writeFrame(ctx context.Context, final bool, opcode byte, payload []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if c.closed {
		if err := context.Cause(c.ctx); err != nil {
			return err
		}
		return net.ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := c.conn.Write(appendFrame(make([]byte, 0, len(payload)+10), final, opcode, payload))
	if !stop() || err != nil {
		c.closed = true
		c.conn.Close()
		return fmt.Errorf("write message: %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// receive reads until the connection ends, and then ends the handler's ctx.
func (c *Conn) receive() {
	defer close(c.ended)
	err := c.receiveAll()
	var closed *CloseError
	if errors.As(err, &closed) {
		c.bye(closed)
		c.conn.Close()
	}
	c.end(err)
}

// receiveAll returns a *CloseError if the client closed the connection, or did what it may not.
func (c *Conn) receiveAll() error {
	var m message
	for inMessage := false; ; {
		h, err := readHeader(c.read)
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		if h.control() {
			if err := c.control(h); err != nil {
				return err
			}
			continue
		}
		switch {
		case inMessage != (h.opcode == opContinuation):
			return protocolError("a message begins within another, or goes on without a beginning")
		case h.length > uint64(c.limit-len(m.data)):
			return &CloseError{1009, fmt.Sprintf("a message has more than %d bytes", c.limit)}
		case !inMessage:
			m = message{typ: MessageType(h.opcode)}
		}
		if m.data, err = h.readPayload(m.data, c.read); err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		if inMessage = !h.final; inMessage {
			continue
		}
		if m.typ == Text && !utf8.Valid(m.data) {
			return &CloseError{1007, "a text message is not UTF-8"}
		}
		select {
		case c.messages <- m:
		case <-c.ctx.Done():
			// Nobody reads messages any more, but the client's Close is to come.
		}
		m = message{}
	}
}

// control answers a control frame.
func (c *Conn) control(h frameHeader) error {
	payload, err := h.readPayload(nil, c.read)
	switch {
	case err != nil:
		return fmt.Errorf("read message: %w", err)
	case h.opcode == opClose:
		return parseClose(payload)
	case h.opcode == opPing:
		c.mu.Lock()
		defer c.mu.Unlock()
		ctx, cancel := context.WithTimeout(c.ctx, closeWait)
		defer cancel()
		if !c.closed {
			_ = c.writeFrame(ctx, true, opPong, payload) // reading finds out as well
		}
	}
	return nil
}
