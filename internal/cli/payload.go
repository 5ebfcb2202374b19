package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode/utf8"

	"github.com/isolde-run/isolde"
)

// maxPayload is the API's bound of a payload, in bytes.
const maxPayload = 100_000_000

// payload is the body of an invocation.
type payload struct {
	body        []byte
	contentType string
}

// readPayload takes the payload from an argument: "-" is stdin, "@name" a
// file, anything else the payload itself.
func (a *app) readPayload(ctx context.Context, arg, contentType string) (payload, error) {
	switch {
	case arg == "-":
		data, err := readContext(ctx, a.in)
		if err != nil {
			return payload{}, fmt.Errorf("read stdin: %w", err)
		}
		return newPayload(data, contentType)
	case len(arg) > 1 && arg[0] == '@':
		data, err := readPayloadFile(arg[1:])
		if err != nil {
			return payload{}, err
		}
		return newPayload(data, contentType)
	}
	return newPayload([]byte(arg), contentType)
}

// readContext reads a stream to its end, or until ctx ends: a terminal or a
// pipe may never end. The reader is left behind then, for the moment until the
// process exits.
func readContext(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func noPayload() error {
	return isolde.Errorf(isolde.CodeInvalid, "there is no payload").
		WithHint(`isolde invoke 'a question', or '{"prompt": "…"}', or @file, or - for stdin`)
}

func readPayloadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "cannot read the payload: %w", err).
			WithHint("@ names a file; --content-type text/plain sends the text as it is")
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxPayload {
		return nil, tooLarge(info.Size())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPayload+1))
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "cannot read the payload: %w", err)
	}
	return data, nil
}

func tooLarge(n int64) error {
	return isolde.Errorf(isolde.CodeInvalid, "the payload has %d bytes or more; the limit is %d", n, maxPayload)
}

// newPayload decides what is sent. With a content type the bytes go
// untouched. Without one, a JSON object or array goes untouched, other text
// becomes {"prompt": text}, and what is not text goes as
// application/octet-stream.
func newPayload(data []byte, contentType string) (payload, error) {
	if len(data) > maxPayload {
		return payload{}, tooLarge(int64(len(data)))
	}
	if contentType != "" {
		return payload{data, contentType}, nil
	}
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		return payload{}, noPayload()
	case text[0] == '{' || text[0] == '[':
		if json.Valid(text) {
			return payload{data, "application/json"}, nil
		}
		if text[0] == '{' {
			return payload{}, brokenJSON(text)
		}
	case !utf8.Valid(data):
		return payload{data, "application/octet-stream"}, nil
	}
	body, err := prompt(string(bytes.TrimRight(data, "\r\n")))
	return payload{body, "application/json"}, err
}

func prompt(text string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(map[string]string{"prompt": text})
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

func brokenJSON(text []byte) error {
	var v any
	err := json.Unmarshal(text, &v)
	e := isolde.Errorf(isolde.CodeInvalid, "the payload begins like JSON but is not: %v", err)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		e.Message += " (at byte " + strconv.FormatInt(syntax.Offset, 10) + ")"
	}
	return e.WithHint("put it in single quotes, or send it as it is with --content-type text/plain")
}
