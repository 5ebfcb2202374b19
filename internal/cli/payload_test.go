package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
)

func TestNewPayload(t *testing.T) {
	const object, binary = "application/json", "application/octet-stream"
	tests := []struct{ name, data, contentType, want, wantType string }{
		{"object", `{"a": 1}`, "", `{"a": 1}`, object},
		{"array with spaces", " [1]\n", "", " [1]\n", object},
		{"text", "hello", "", `{"prompt":"hello"}`, object},
		{"text is not trimmed but for newlines", " a <b>\n", "", `{"prompt":" a <b>"}`, object},
		{"a number is a question too", "42", "", `{"prompt":"42"}`, object},
		{"a quoted string is text", `"hi"`, "", `{"prompt":"\"hi\""}`, object},
		{"text in brackets", "[urgent] hello", "", `{"prompt":"[urgent] hello"}`, object},
		{"not text", "\xff\xd8\xff", "", "\xff\xd8\xff", binary},
		{"untouched", "hello\n", "text/plain", "hello\n", "text/plain"},
		{"untouched and empty", "", object, "", object},
		{"untouched and broken", `{"a`, object, `{"a`, object},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newPayload([]byte(tt.data), tt.contentType)
			if err != nil || string(p.body) != tt.want || p.contentType != tt.wantType {
				t.Errorf("got %q as %q, %v; want %q as %q", p.body, p.contentType, err, tt.want, tt.wantType)
			}
		})
	}
}

func TestPayloadErrors(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxPayload+1); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, arg string
		stdin     io.Reader
		want      string
	}{
		{"empty", " ", nil, "there is no payload"},
		{"broken object", `{"a": 1,}`, nil, "begins like JSON but is not: invalid character '}' looking for beginning of object key string (at byte 9)"},
		{"empty stdin", "-", strings.NewReader(""), "there is no payload"},
		{"no file", "@" + large + "r", nil, "no such file or directory"},
		{"large file", "@" + large, nil, "the payload has 100000001 bytes or more; the limit is 100000000"},
		{"large stdin", "-", io.LimitReader(endless{}, maxPayload+2), "the payload has 100000001 bytes or more; the limit is 100000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(tt.stdin, io.Discard, io.Discard, os.Getenv)
			_, err := a.readPayload(t.Context(), tt.arg, "")
			if isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// endless is a stdin without an end; what it holds does not matter.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Whoever waits for a stdin that never ends can be interrupted.
func TestReadingStdinEndsWithContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	if _, err := readContext(ctx, r); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error is %v", err)
	}
}

func FuzzNewPayload(f *testing.F) {
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte("text\r\n"))
	f.Add([]byte("[\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := newPayload(data, "")
		if err != nil {
			return
		}
		if p.contentType == "application/octet-stream" && !bytes.Equal(p.body, data) {
			t.Errorf("bytes were changed: %q to %q", data, p.body)
		}
		if p.contentType == "application/json" && !json.Valid(p.body) {
			t.Errorf("%q became %q, which is not JSON", data, p.body)
		}
	})
}
