// Package ws relays WebSocket connections (RFC 6455) between a client and an
// agent, frame by frame. The frames are the peers' own and pass unchanged, the
// client's masking included; pings, fragments and close codes are between the
// peers. The relay only reads the headers, so that limits hold and a frame of
// its own, the Close that says why a connection must end, never falls into
// the middle of another.
package ws

import (
	"encoding/binary"
	"fmt"
)

// The opcodes of RFC 6455, 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// MaxFrame bounds the payload of a frame in bytes: 64 KB, of the AgentCore
// limits page.
const MaxFrame = 64 << 10

// maxHeader is the longest header: two bytes, a 64-bit length, a mask.
const maxHeader = 2 + 8 + 4

// maxControl bounds the payload of a control frame (RFC 6455, 5.5).
const maxControl = 125

// header is the header of a frame.
type header struct {
	final  bool // last frame of its message
	op     byte
	masked bool
	mask   [4]byte
	length uint64 // of the payload
}

// headerSize is how many bytes a header has that begins with these two.
func headerSize(b0, b1 byte) int {
	n := 2
	switch b1 & 0x7F {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b1&0x80 != 0 {
		n += 4
	}
	return n
}

// parseHeader reads a whole header, of headerSize bytes. Errors are *Closure
// with CodeProtocol: what no peer without an agreed extension may send.
func parseHeader(b []byte) (header, error) {
	h := header{final: b[0]&0x80 != 0, op: b[0] & 0x0F, masked: b[1]&0x80 != 0, length: uint64(b[1] & 0x7F)}
	if b[0]&0x70 != 0 {
		return h, violation("a frame with reserved bits: no extension was agreed on")
	}
	rest := b[2:]
	switch h.length {
	case 126:
		if h.length, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]; h.length < 126 {
			return h, violation("a frame whose length is not in its shortest form")
		}
	case 127:
		if h.length, rest = binary.BigEndian.Uint64(rest), rest[8:]; h.length < 1<<16 || h.length >= 1<<63 {
			return h, violation("a frame whose length is not in its shortest form")
		}
	}
	if h.masked {
		copy(h.mask[:], rest)
	}
	switch h.op {
	case opContinuation, opText, opBinary:
	case opClose, opPing, opPong:
		if h.length > maxControl {
			return h, violation("a control frame of %d bytes; at most %d are allowed", h.length, maxControl)
		}
		if !h.final {
			return h, violation("a control frame in fragments")
		}
	default:
		return h, violation("a frame with opcode %#x, which is reserved", h.op)
	}
	return h, nil
}

// appendTo writes the header in its shortest form.
func (h header) appendTo(b []byte) []byte {
	b0, b1 := h.op, byte(0)
	if h.final {
		b0 |= 0x80
	}
	if h.masked {
		b1 = 0x80
	}
	switch {
	case h.length < 126:
		b = append(b, b0, b1|byte(h.length))
	case h.length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, b0, b1|126), uint16(h.length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, b0, b1|127), h.length)
	}
	if h.masked {
		b = append(b, h.mask[:]...)
	}
	return b
}

// The close codes of RFC 6455, 7.4.1, that a server uses.
const (
	CodeNormal    = 1000
	CodeGoingAway = 1001 // the session or the server ends
	CodeProtocol  = 1002 // a frame that is none
	CodePolicy    = 1008 // a limit in time
	CodeTooBig    = 1009 // a frame over MaxFrame
	CodeInternal  = 1011 // the agent failed
)

// Closure is why a relay ends a connection, in the form a peer is told.
type Closure struct {
	Code   uint16
	Reason string // at most 123 bytes are sent
}

// Error is code and reason.
func (c *Closure) Error() string { return fmt.Sprintf("close %d: %s", c.Code, c.Reason) }

func violation(format string, args ...any) *Closure {
	return &Closure{CodeProtocol, fmt.Sprintf(format, args...)}
}

// Told is as much of the reason as a Close frame holds.
func (c *Closure) Told() string {
	reason := c.Reason
	if most := maxControl - 2; len(reason) > most {
		for reason = reason[:most]; len(reason) > 0 && c.Reason[len(reason)]&0xC0 == 0x80; {
			reason = reason[:len(reason)-1] // a rune is not cut
		}
	}
	return reason
}

// frame is a Close frame; to an agent it is masked, as a client's must be.
func (c *Closure) frame(masked bool) []byte {
	payload := append(binary.BigEndian.AppendUint16(nil, c.Code), c.Told()...)
	h := header{final: true, op: opClose, masked: masked, length: uint64(len(payload))}
	if masked {
		h.mask = newMask()
		for i := range payload {
			payload[i] ^= h.mask[i%4]
		}
	}
	return append(h.appendTo(nil), payload...)
}
