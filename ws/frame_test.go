package ws

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzHeader reads any bytes as a header. One that is accepted is exactly what
// writing it makes, so that two readers cannot differ on where a frame ends.
func FuzzHeader(f *testing.F) {
	for _, h := range []header{
		{final: true, op: opText, length: 5},
		{op: opBinary, masked: true, mask: [4]byte{1, 2, 3, 4}, length: 126},
		{final: true, op: opContinuation, length: 1 << 16},
		{final: true, op: opClose, masked: true, length: 125},
	} {
		f.Add(h.appendTo(nil))
	}
	f.Add([]byte{0xC1, 0x7E, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 || len(b) < headerSize(b[0], b[1]) {
			return
		}
		b = b[:headerSize(b[0], b[1])]
		h, err := parseHeader(b)
		if err != nil {
			if c, ok := errors.AsType[*Closure](err); !ok || c.Code != CodeProtocol {
				t.Fatalf("error %v", err)
			}
			return
		}
		if got := h.appendTo(nil); !bytes.Equal(got, b) {
			t.Errorf("% x was read as %+v, which is % x", b, h, got)
		}
	})
}

func TestHeadersThatNobodyMaySend(t *testing.T) {
	for _, test := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"reserved bit", []byte{0xC1, 0}, "reserved bits"},
		{"reserved opcode", []byte{0x83, 0}, "opcode 0x3"},
		{"reserved control opcode", []byte{0x8B, 0}, "opcode 0xb"},
		{"fragmented ping", []byte{0x09, 0}, "control frame in fragments"},
		{"long ping", []byte{0x89, 126, 0, 126}, "control frame of 126 bytes"},
		{"long form of a short length", []byte{0x82, 126, 0, 125}, "shortest form"},
		{"64-bit form of a 16-bit length", []byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, "shortest form"},
		{"length with a sign", []byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, "shortest form"},
	} {
		if _, err := parseHeader(test.bytes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want …%s…", test.name, err, test.want)
		}
	}
}

func TestReasonOfACloseIsCutBetweenRunes(t *testing.T) {
	frame := (&Closure{CodePolicy, strings.Repeat("ü", 100)}).frame(false)
	if n := len(frame) - 4; n != 122 || !utf8.Valid(frame[4:]) || frame[1] != 124 {
		t.Errorf("%d bytes of reason, valid %v, length %d", n, utf8.Valid(frame[4:]), frame[1])
	}
}
