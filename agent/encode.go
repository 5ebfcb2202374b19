package agent

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// encode returns v as JSON in the form that Python's json.dumps gives it: a
// space after each comma and colon, and no character escaped that need not be.
// Clients have come to compare such bytes. Numbers, and the order of a map's
// keys, are those of encoding/json.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	compact := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	return spread(make([]byte, 0, len(compact)+len(compact)/8), compact, true), nil
}

// plain takes the escapes out of compact JSON that Python does not write.
func plain(compact []byte) []byte { return spread(nil, compact, false) }

// escapes are those that encoding/json writes and Python does not.
var escapes = []struct {
	escape string
	char   rune
}{
	{`\u2028`, '\u2028'},
	{`\u2029`, '\u2029'},
	{`\ufffd`, utf8.RuneError},
	{`\u003c`, '<'},
	{`\u003e`, '>'},
	{`\u0026`, '&'},
}

// spread appends the compact JSON to dst. spaces asks for one after each comma
// and colon that is not in a string.
func spread(dst, compact []byte, spaces bool) []byte {
	inString := false
	for i := 0; i < len(compact); i++ {
		c := compact[i]
		switch {
		case c == '"':
			inString = !inString
		case c == '\\': // in a string only
			escaped, n := unescaped(compact[i:])
			dst = append(dst, escaped...)
			i += n - 1
			continue
		case !inString && spaces && (c == ',' || c == ':'):
			dst = append(dst, c, ' ')
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// unescaped returns what stands for the escape that b begins with, and the
// length of that escape, or its first two bytes.
func unescaped(b []byte) (string, int) {
	for _, e := range escapes {
		if bytes.HasPrefix(b, []byte(e.escape)) {
			return string(e.char), len(e.escape)
		}
	}
	return string(b[:2]), 2
}
