package agent

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// maxDepth is how deep a payload may be, as for encoding/json.
const maxDepth = 10000

// scanner reads a JSON text as it comes and takes the strings that are for a
// [Blob] out of it. It follows the Go type that the text is for and leaves
// every judgement of the text to json.Unmarshal, which gets what remains: a
// string becomes a string, so what was JSON is JSON.
type scanner struct {
	in   *bufio.Reader
	rest []byte  // the text without its blobs
	at   []level // the containers around what is read, outermost first

	// blob is called with the bytes of a blob, and returns the string that
	// stands for it in rest.
	blob func(r io.Reader, media string) (string, error)
}

// level is one container.
type level struct {
	typ   reflect.Type // of the container; nil if no blob can be in it
	array bool
	key   bool   // the next string is a key
	name  string // of the member that is read
	index int    // of the element that is read
}

func newScanner(r io.Reader) *scanner {
	return &scanner{in: bufio.NewReaderSize(r, 64<<10)}
}

// scan reads a text for a value of the type.
func (s *scanner) scan(t reflect.Type) ([]byte, error) {
	for {
		c, err := s.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return s.rest, nil
		}
		if err != nil {
			return nil, readError(err)
		}
		s.rest = append(s.rest, c)
		top := s.top()
		switch c {
		case '{', '[':
			if len(s.at) == maxDepth {
				return nil, &payloadError{kindJSON, errors.New("it is nested too deep")}
			}
			s.at = append(s.at, level{typ: settle(s.expected(t)), array: c == '[', key: c == '{'})
		case '}', ']':
			if top != nil {
				s.at = s.at[:len(s.at)-1]
			}
		case ',':
			if top != nil {
				top.key = !top.array
				top.index++
			}
		case '"':
			if err := s.text(top, t); err != nil {
				return nil, err
			}
		}
	}
}

func (s *scanner) top() *level {
	if len(s.at) == 0 {
		return nil
	}
	return &s.at[len(s.at)-1]
}

// expected is the type that the next value is for, or nil.
func (s *scanner) expected(root reflect.Type) reflect.Type {
	top := s.top()
	switch {
	case top == nil:
		return root
	case top.typ == nil:
		return nil
	case top.array && (top.typ.Kind() == reflect.Slice || top.typ.Kind() == reflect.Array):
		return top.typ.Elem()
	case !top.array && top.typ.Kind() == reflect.Map:
		return top.typ.Elem()
	case !top.array && top.typ.Kind() == reflect.Struct:
		return fieldType(top.typ, top.name)
	}
	return nil
}

// text reads a string, whose quote was read.
func (s *scanner) text(top *level, root reflect.Type) error {
	if top != nil && top.key {
		start := len(s.rest) - 1
		if err := s.copyText(); err != nil {
			return err
		}
		top.key = false
		_ = json.Unmarshal(s.rest[start:], &top.name) // judged later
		return nil
	}
	if settle(s.expected(root)) != blobType {
		return s.copyText()
	}
	word, err := s.take()
	if err != nil {
		return err
	}
	s.rest = append(append(s.rest, word...), '"')
	return nil
}

// take reads a string that is a blob.
func (s *scanner) take() (word string, err error) {
	source := &textReader{in: s.in}
	chars := bufio.NewReader(source)
	media, invalid := mediaType(chars)
	if invalid == nil {
		data := base64.NewDecoder(base64.StdEncoding, chars)
		if word, err = s.blob(data, media); err == nil {
			_, invalid = io.Copy(io.Discard, data)
		}
	}
	var corrupt base64.CorruptInputError
	if errors.As(err, &corrupt) || errors.As(invalid, &corrupt) {
		invalid = errors.New("illegal base64 data") // its offset counts from anywhere
	}
	switch {
	case source.err != nil && !errors.Is(source.err, io.EOF): // the payload ended, or its reader
		return "", readError(source.err)
	case invalid != nil:
		return "", &payloadError{kindFormat, fmt.Errorf("%s is not base64: %w", s.place(), invalid)}
	}
	return word, err
}

// copyText copies a string up to its closing quote.
func (s *scanner) copyText() error {
	escaped := false
	for {
		b, err := buffered(s.in)
		if err != nil {
			return readError(err)
		}
		i := 0
		for ; i < len(b); i++ {
			if escaped {
				escaped = false
			} else if b[i] == '\\' {
				escaped = true
			} else if b[i] == '"' {
				s.rest = append(s.rest, b[:i+1]...)
				_, _ = s.in.Discard(i + 1)
				return nil
			}
		}
		s.rest = append(s.rest, b...)
		_, _ = s.in.Discard(i)
	}
}

// buffered returns what was read and not used, at least one byte.
func buffered(in *bufio.Reader) ([]byte, error) {
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	return in.Peek(in.Buffered())
}

// place names what is read in the way of Go and JavaScript: "files[2].data".
func (s *scanner) place() string {
	var b strings.Builder
	for _, l := range s.at {
		switch {
		case l.array:
			b.WriteString("[" + strconv.Itoa(l.index) + "]")
		case b.Len() > 0:
			b.WriteString("." + l.name)
		default:
			b.WriteString(l.name)
		}
	}
	return b.String()
}

// textReader reads what a JSON string says, up to its closing quote, which is
// io.EOF. It knows the escapes that can stand for base64.
type textReader struct {
	in  *bufio.Reader
	err error // that ended it
}

// Read implements io.Reader.
func (t *textReader) Read(p []byte) (int, error) {
	if t.err != nil || len(p) == 0 {
		return 0, t.err
	}
	b, err := buffered(t.in)
	if err != nil {
		return 0, t.fail(err)
	}
	b = b[:min(len(b), len(p))]
	n := len(b)
	if i := bytes.IndexByte(b, '"'); i >= 0 {
		n = i
	}
	if i := bytes.IndexByte(b[:n], '\\'); i >= 0 {
		n = i
	}
	copy(p, b[:n])
	_, _ = t.in.Discard(n)
	if n > 0 {
		return n, nil
	}
	if p[0], err = t.special(b[0]); err != nil {
		return 0, err
	}
	return 1, nil
}

// fail keeps an error of the payload's reader; a string has no end but a quote.
func (t *textReader) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	t.err = err
	return err
}

// special reads a quote or an escape.
func (t *textReader) special(c byte) (byte, error) {
	_, _ = t.in.Discard(1)
	if c == '"' {
		t.err = io.EOF
		return 0, io.EOF
	}
	e, err := t.in.ReadByte()
	if err != nil {
		return 0, t.fail(err)
	}
	switch e {
	case 'n', 'r':
		return '\n', nil
	case 'u':
		var hex [4]byte
		if _, err := io.ReadFull(t.in, hex[:]); err != nil {
			return 0, t.fail(err)
		}
		if n, err := strconv.ParseUint(string(hex[:]), 16, 7); err == nil {
			return byte(n), nil
		}
		return 0xff, nil // no character of base64
	}
	return e, nil // itself, as /; or what base64 has no use for, as b
}
