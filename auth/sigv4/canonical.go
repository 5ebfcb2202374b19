package sigv4

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// canonical is the canonical request but for its last line, the hash of the
// payload, written straight from the request as it came, in one buffer. The AWS
// SDK's signer makes the same from a rebuilt request in five times the time
// (BenchmarkVerify), but leaves out some headers that others sign; the tests
// compare the two.
type canonical struct {
	buf   []byte
	pairs []pair // scratch of query
}

// pair is a parameter of the query: bounds of its encoded name and value in buf.
type pair struct{ from, equals, to int }

// write makes the canonical request anew. An error is an [isolde.Error] with
// CodeMalformed.
func (c *canonical) write(r *http.Request, signed string, presigned, once bool) error {
	c.buf = append(c.buf[:0], r.Method...)
	c.buf = append(c.buf, '\n')
	c.path(r, once)
	c.buf = append(c.buf, '\n')
	if err := c.query(r.URL.RawQuery, presigned); err != nil {
		return err
	}
	c.buf = append(c.buf, '\n')
	for name, rest, more := "", signed, true; more; {
		name, rest, more = strings.Cut(rest, ";")
		if err := c.header(r, name); err != nil {
			return err
		}
	}
	c.buf = append(c.buf, '\n')
	c.buf = append(c.buf, signed...)
	c.buf = append(c.buf, '\n')
	return nil
}

// path writes the path, which arrives encoded. S3 takes it so; other services
// have it encoded once more. RawPath is what the parser found, next to the Path
// that it means; EscapedPath would check that anew.
func (c *canonical) path(r *http.Request, once bool) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.EscapedPath()
	}
	if path == "" {
		path = "/"
	}
	if once {
		c.buf = append(c.buf, path...)
		return
	}
	for i := range len(path) {
		if path[i] == '/' {
			c.buf = append(c.buf, '/')
		} else {
			c.escape(path[i])
		}
	}
}

const upperHex = "0123456789ABCDEF"

var unreserved, lowerToken = characters("ABCDEFGHIJKLMNOPQRSTUVWXYZ-._~"), characters("!#$%&'*+-.^_`|~")

// characters are lower-case letters, digits and more.
func characters(more string) (set [256]bool) {
	for _, b := range []byte("abcdefghijklmnopqrstuvwxyz0123456789" + more) {
		set[b] = true
	}
	return set
}

// escape writes a byte, as %XX unless it is one of RFC 3986's unreserved.
func (c *canonical) escape(b byte) {
	if unreserved[b] {
		c.buf = append(c.buf, b)
		return
	}
	c.buf = append(c.buf, '%', upperHex[b>>4], upperHex[b&15])
}

// query writes the parameters, encoded in the one way of SigV4 and sorted as
// encoded. What url.ParseQuery refuses is an error: a handler would not see
// such a parameter, or not as it was signed. The signature itself is left out
// of a presigned request.
func (c *canonical) query(raw string, presigned bool) error {
	if raw == "" {
		return nil
	}
	start := len(c.buf)
	c.pairs = c.pairs[:0]
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		p := pair{from: len(c.buf)}
		if !c.component(name) {
			return malformed("the query cannot be parsed at %q", shorten(part))
		}
		if p.equals = len(c.buf); presigned && string(c.buf[p.from:]) == "X-Amz-Signature" {
			c.buf = c.buf[:p.from]
			continue
		}
		c.buf = append(c.buf, '=')
		if !c.component(value) {
			return malformed("the query cannot be parsed at %q", shorten(part))
		}
		p.to = len(c.buf)
		c.pairs = append(c.pairs, p)
	}
	compare := func(a, b pair) int {
		if order := bytes.Compare(c.buf[a.from:a.equals], c.buf[b.from:b.equals]); order != 0 {
			return order
		}
		return bytes.Compare(c.buf[a.equals:a.to], c.buf[b.equals:b.to])
	}
	slices.SortFunc(c.pairs, compare)
	end := len(c.buf)
	for i, p := range c.pairs { // behind the unsorted ones, then over them
		if i > 0 {
			c.buf = append(c.buf, '&')
		}
		c.buf = append(c.buf, c.buf[p.from:p.to]...)
	}
	c.buf = c.buf[:start+copy(c.buf[start:], c.buf[end:])]
	return nil
}

// component decodes a name or value of the query and writes it encoded; false
// where it cannot be decoded.
func (c *canonical) component(raw string) bool {
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; b {
		case ';':
			return false
		case '+':
			c.buf = append(c.buf, "%20"...)
		case '%':
			if i+2 >= len(raw) {
				return false
			}
			high, low := unhex(raw[i+1]), unhex(raw[i+2])
			if high > 15 || low > 15 {
				return false
			}
			c.escape(high<<4 | low)
			i += 2
		default:
			c.escape(b)
		}
	}
	return true
}

func unhex(b byte) byte {
	switch {
	case b >= '0' && b <= '9':
		return b - '0'
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10
	}
	return 255
}

// header writes the line of a signed header: its values trimmed, with runs
// of spaces as one, separated by commas.
func (c *canonical) header(r *http.Request, name string) error {
	c.buf = append(c.buf, name...)
	c.buf = append(c.buf, ':')
	switch name { // net/http keeps these elsewhere
	case "host":
		c.value(r.Host)
		c.buf = append(c.buf, '\n')
		return nil
	case "transfer-encoding":
		c.buf = append(c.buf, strings.Join(r.TransferEncoding, ",")...)
		c.buf = append(c.buf, '\n')
		return nil
	}
	all, ok := values(r.Header, name)
	if !ok && name == "content-length" && r.ContentLength >= 0 {
		c.buf = strconv.AppendInt(c.buf, r.ContentLength, 10)
	} else if !ok {
		return malformed("the signed header %s is not in the request", shorten(name)).
			WithHint("a proxy between client and server may have removed it")
	}
	for i, v := range all {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		c.value(v)
	}
	c.buf = append(c.buf, '\n')
	return nil
}

func (c *canonical) value(v string) {
	start, space := len(c.buf), false
	for i := range len(v) {
		if v[i] == ' ' {
			space = true
			continue
		}
		if space && len(c.buf) > start {
			c.buf = append(c.buf, ' ')
		}
		space = false
		c.buf = append(c.buf, v[i])
	}
}

// values looks a header up by its lower-case name.
func values(h http.Header, name string) ([]string, bool) {
	var b [64]byte
	if len(name) > len(b) {
		v, ok := h[textproto.CanonicalMIMEHeaderKey(name)]
		return v, ok
	}
	upper := true
	for i := range len(name) {
		b[i] = name[i]
		if upper && b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
		upper = b[i] == '-'
	}
	v, ok := h[string(b[:len(name)])] // no allocation: the string lives for the lookup alone
	return v, ok
}
