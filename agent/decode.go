package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"unicode/utf8"
)

// Decode reads a payload, one JSON value, into v, as [Handle] does: a [Blob]
// of v is decoded while it comes, and lives until ctx ends. An error that is
// the payload's own is answered with 400 if the handler returns it.
func Decode(ctx context.Context, payload io.Reader, v any) error {
	files, err := decode(payload, v, nil)
	if err != nil {
		return err
	}
	files.closeAfter(ctx)
	return nil
}

// DecodeBlobs is Decode for blobs that are kept nowhere: each is called with
// the place of each [Blob] in the payload, such as "files[2].data", and its
// bytes as they come, so that they can go on at once. What it leaves unread is
// skipped. In v these Blobs are empty.
func DecodeBlobs(payload io.Reader, v any, each func(place string, data io.Reader) error) error {
	_, err := decode(payload, v, each)
	return err
}

// decode reads all of the payload. The spool is the caller's to close, unless
// there is an error.
func decode(payload io.Reader, v any, each func(string, io.Reader) error) (*spool, error) {
	files := &spool{}
	defer files.forget()
	text, err := readPayload(payload, reflect.TypeOf(v), files, each)
	if err == nil {
		err = unmarshal(text, v)
	}
	if err != nil {
		files.close()
	}
	return files, err
}

// readPayload returns the payload with words in the place of its blobs.
func readPayload(payload io.Reader, t reflect.Type, files *spool, each func(string, io.Reader) error) ([]byte, error) {
	if !holdsBlob(t) {
		text, err := readAll(payload)
		if err != nil {
			return nil, readError(err)
		}
		return text, nil
	}
	s := newScanner(payload)
	s.blob = func(r io.Reader, media string) (string, error) {
		if each == nil {
			return files.add(r, media)
		}
		return "", each(s.place(), r)
	}
	return s.scan(t)
}

func unmarshal(text []byte, v any) error {
	if !utf8.Valid(text) {
		return &payloadError{kindEncoding, errors.New("the payload is not UTF-8")}
	}
	err := json.Unmarshal(text, v)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax) && len(bytes.TrimSpace(text)) == 0:
		return &payloadError{kindJSON, errors.New("the payload is empty")}
	case errors.As(err, &syntax):
		return &payloadError{kindJSON, err}
	}
	return &payloadError{kindFormat, err}
}

// readError is that of a body that cannot be read.
func readError(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the payload has more than %d bytes", large.Limit), Err: err}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &payloadError{kindJSON, errors.New("unexpected end of JSON input")}
	}
	return fmt.Errorf("read payload: %w", err)
}

// sizedReader is a body whose length is known.
type sizedReader struct {
	io.Reader
	size int64
}

func sized(r *http.Request) io.Reader { return sizedReader{r.Body, r.ContentLength} }

// largestPayload is what AgentCore takes: no more is set aside at once,
// whatever a Content-Length says.
const largestPayload = 100 << 20

// readAll reads into one piece of memory where the size is known.
func readAll(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	if s, ok := r.(sizedReader); ok && s.size > 0 {
		b.Grow(int(min(s.size, largestPayload)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}
