package agent

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// The opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// maxControl is the longest payload of a control frame.
const maxControl = 125

// frameHeader is the start of a frame that a client sent.
type frameHeader struct {
	final  bool
	opcode byte
	length uint64
	mask   [4]byte
}

func (h frameHeader) control() bool { return h.opcode >= opClose }

// readHeader reads a client's header. One that no client may send is a
// *CloseError with what the client is told.
func readHeader(r io.Reader) (h frameHeader, err error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return h, err
	}
	h.final, h.opcode, h.length = b[0]&0x80 != 0, b[0]&0x0f, uint64(b[1]&0x7f)
	switch {
	case b[0]&0x70 != 0:
		return h, protocolError("a reserved bit is set")
	case b[1]&0x80 == 0:
		return h, protocolError("a client's frame is not masked")
	case h.opcode > byte(Binary) && h.opcode < opClose || h.opcode > opPong:
		return h, protocolError(fmt.Sprintf("there is no opcode %d", h.opcode))
	case h.control() && (!h.final || h.length > maxControl):
		return h, protocolError("a control frame is fragmented or too long")
	}
	switch h.length {
	case 126:
		_, err = io.ReadFull(r, b[:2])
		h.length = uint64(binary.BigEndian.Uint16(b[:2]))
	case 127:
		_, err = io.ReadFull(r, b[:8])
		h.length = binary.BigEndian.Uint64(b[:8])
	}
	if err == nil {
		_, err = io.ReadFull(r, h.mask[:])
	}
	return h, err
}

// readPayload appends the frame's payload to dst, unmasked.
func (h frameHeader) readPayload(dst []byte, r io.Reader) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, h.length)...)
	_, err := io.ReadFull(r, dst[start:])
	for i := range dst[start:] {
		dst[start+i] ^= h.mask[i&3]
	}
	return dst, err
}

// appendFrame appends a frame of a server, which is not masked.
func appendFrame(dst []byte, final bool, opcode byte, payload []byte) []byte {
	if final {
		opcode |= 0x80
	}
	switch n := len(payload); {
	case n <= maxControl:
		dst = append(dst, opcode, byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, opcode, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, opcode, 127), uint64(n))
	}
	return append(dst, payload...)
}

// CloseError is how a WebSocket connection ended, in the words of whoever
// closed it.
type CloseError struct {
	Code   int    // of RFC 6455, such as 1000; 1005 if the client gave none
	Reason string // at most 123 bytes
}

// Error implements error.
func (e *CloseError) Error() string { return fmt.Sprintf("websocket closed: %d %s", e.Code, e.Reason) }

func protocolError(reason string) error { return &CloseError{1002, reason} }

// parseClose reads the payload of a Close frame.
func parseClose(payload []byte) *CloseError {
	if len(payload) == 0 {
		return &CloseError{Code: 1005}
	}
	if len(payload) == 1 {
		return &CloseError{1002, "a close frame has one byte"}
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	switch {
	case code < 1000, code >= 1004 && code <= 1006, code >= 1015 && code < 3000, code >= 5000:
		return &CloseError{1002, fmt.Sprintf("no client may close with %d", code)}
	case !utf8.ValidString(reason):
		return &CloseError{1007, "the reason is not UTF-8"}
	}
	return &CloseError{code, reason}
}

// payload is that of the Close frame.
func (e *CloseError) payload() []byte {
	if e.Code == 1005 {
		return nil
	}
	reason := e.Reason
	for len(reason) > maxControl-2 {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(e.Code)), reason...)
}
