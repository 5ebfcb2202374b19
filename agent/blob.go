package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Blob is bytes that stand in JSON as base64, or as a data: URL: a file in a
// payload. It is for what a []byte would be, but the handler's memory does not
// pay for it. [Handle] and [Decode] decode it while it comes, into memory if
// it is small and into a temporary file if it is not. The file is gone when
// the call has ended, so [Blob.Save] what you keep.
//
//	type Request struct {
//		Prompt   string     `json:"prompt"`
//		Workbook agent.Blob `json:"workbook"`
//	}
//
// Bytes are read as often as you like, from many goroutines. A copy of a Blob
// has the same bytes. The base64 is that of a []byte: the standard alphabet
// with padding; line breaks are ignored.
type Blob struct {
	// MediaType is that of a data: URL, such as "image/png"; else empty.
	MediaType string

	from io.ReaderAt
	at   int64
	size int64
}

// NewBlob returns a Blob of bytes, which must not change any more.
func NewBlob(data []byte) Blob {
	return Blob{from: bytes.NewReader(data), size: int64(len(data))}
}

// Size is the number of bytes, decoded.
func (b Blob) Size() int64 { return b.size }

// Reader returns a reader of the bytes from the beginning, which is an
// [io.ReaderAt] and an [io.Seeker] too.
func (b Blob) Reader() *io.SectionReader {
	if b.from == nil {
		b.from = bytes.NewReader(nil)
	}
	return io.NewSectionReader(b.from, b.at, b.size)
}

// Bytes returns all bytes, in memory of the caller's.
func (b Blob) Bytes() ([]byte, error) {
	data := make([]byte, b.size)
	if _, err := io.ReadFull(b.Reader(), data); err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return data, nil
}

// Save writes the bytes to a file, which it makes or overwrites.
func (b Blob) Save(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("save blob: %w", err)
	}
	_, err = io.Copy(f, b.Reader())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("save blob: %w", err)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (b Blob) MarshalJSON() ([]byte, error) {
	data, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	if b.MediaType != "" {
		return json.Marshal("data:" + b.MediaType + ";base64," + base64.StdEncoding.EncodeToString(data))
	}
	return json.Marshal(data)
}

// UnmarshalJSON implements json.Unmarshaler, for JSON that [Decode] does not
// read itself: it decodes in memory.
func (b *Blob) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return err
	}
	if found, ok := decoded.Load(*s); ok {
		*b = found.(Blob)
		return nil
	}
	r := bufio.NewReader(strings.NewReader(*s))
	media, err := mediaType(r)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, r))
	if err != nil {
		return err
	}
	*b = NewBlob(data)
	b.MediaType = media
	return nil
}

// mediaType reads the start of a data: URL, if r begins with one.
func mediaType(r *bufio.Reader) (string, error) {
	if head, _ := r.Peek(len("data:")); string(head) != "data:" {
		return "", nil
	}
	head, err := r.ReadString(',')
	if err != nil {
		return "", errors.New("a data: URL has a comma")
	}
	media, ok := strings.CutSuffix(head[len("data:"):len(head)-1], ";base64")
	if !ok {
		return "", errors.New("the data: URL is not in base64")
	}
	return media, nil
}

// decoded has the blobs that Decode took out of a payload, by the words that
// it put in their place: json.Unmarshal hands UnmarshalJSON these and nothing
// else. No caller can guess them.
var decoded sync.Map

// spool holds the blobs of one payload: small ones in memory, and the others
// one after the other in one temporary file.
type spool struct {
	file *os.File
	size int64  // of the file
	held int    // bytes in memory
	mark string // the words' common part
	n    int    // of words
	buf  []byte
}

const (
	// spoolHeld bounds what the small blobs of a payload take together.
	spoolHeld = 1 << 20
	// spoolSmall is the size of a small blob. Longer ones are written by this.
	spoolSmall = 64 << 10
)

// add reads a blob and returns the word for it.
func (s *spool) add(r io.Reader, media string) (word string, err error) {
	if s.buf == nil {
		s.buf = make([]byte, spoolSmall)
	}
	b := Blob{MediaType: media}
	n, err := io.ReadFull(r, s.buf)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", err
	case err != nil && s.held+n <= spoolHeld:
		s.held += n
		b.from, b.size = bytes.NewReader(bytes.Clone(s.buf[:n])), int64(n)
		return s.keep(b), nil
	}
	if err := s.open(); err != nil {
		return "", err
	}
	b.from, b.at = s.file, s.size
	for full := err == nil; ; {
		if _, err := s.file.Write(s.buf[:n]); err != nil {
			return "", fmt.Errorf("keep blob: %w", err)
		}
		s.size += int64(n)
		if !full {
			break
		}
		n, err = io.ReadFull(r, s.buf)
		if full = err == nil; !full && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
	}
	b.size = s.size - b.at
	return s.keep(b), nil
}

// open makes the temporary file. Its name is gone at once where the system
// allows it, so that nothing is left of a process that is killed.
func (s *spool) open() error {
	if s.file != nil {
		return nil
	}
	f, err := os.CreateTemp("", "agent-blobs-")
	if err != nil {
		return fmt.Errorf("keep blob: %w", err)
	}
	_ = os.Remove(f.Name())
	s.file = f
	return nil
}

func (s *spool) keep(b Blob) (word string) {
	if s.mark == "" {
		s.mark = "isolde:" + rand.Text() + ":"
	}
	word = s.mark + strconv.Itoa(s.n)
	s.n++
	decoded.Store(word, b)
	return word
}

// forget makes the words mean nothing any more.
func (s *spool) forget() {
	for i := range s.n {
		decoded.Delete(s.mark + strconv.Itoa(i))
	}
	s.buf = nil
}

// closeAfter closes the spool when ctx ends.
func (s *spool) closeAfter(ctx context.Context) {
	if s.file != nil {
		context.AfterFunc(ctx, s.close)
	}
}

// close ends the life of the blobs that are in the file.
func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		_ = os.Remove(s.file.Name()) // where an open file cannot be removed
	}
}
