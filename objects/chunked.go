package objects

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/johannesboyne/gofakes3"
)

// chunkReader reads the aws-chunked encoding, in which SDKs send a body whose
// hash they learn as they go:
//
//	SIZE[;chunk-signature=…]\r\n DATA \r\n … 0[;chunk-signature=…]\r\n [NAME:VALUE\r\n …] \r\n
//
// SIZE is hexadecimal. Signatures are not verified.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
type chunkReader struct {
	r       *bufio.Reader
	left    int64 // of the chunk
	begun   bool
	ended   bool
	trailer http.Header // complete at io.EOF
}

func newChunkReader(r io.Reader) *chunkReader {
	return &chunkReader{r: bufio.NewReaderSize(r, 64<<10), trailer: http.Header{}}
}

// maxTrailers bounds the lines after the last chunk, where SDKs send two.
const maxTrailers = 16

// Read returns faults for what is no such encoding.
func (c *chunkReader) Read(p []byte) (int, error) {
	if c.ended {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the head of the next chunk, and after the last one the trailers.
func (c *chunkReader) next() error {
	if c.begun {
		if line, err := c.line(); err != nil || len(line) != 0 {
			return malformedChunk(err)
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return malformedChunk(err)
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	if c.left, err = strconv.ParseInt(string(size), 16, 64); err != nil || c.left < 0 {
		return malformedChunk(nil)
	}
	if c.left > 0 {
		return nil
	}
	for range maxTrailers {
		line, err := c.line()
		if errors.Is(err, io.EOF) || err == nil && len(line) == 0 {
			c.ended = true
			return io.EOF
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if err != nil || !ok {
			return malformedChunk(err)
		}
		c.trailer.Set(string(name), string(bytes.TrimSpace(value)))
	}
	return malformedChunk(nil)
}

// line reads up to CRLF, which it cuts off.
func (c *chunkReader) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return bytes.TrimRight(line, "\r\n"), err
}

func malformedChunk(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the end of the connection is not that of the body
	}
	return faultf(gofakes3.ErrIncompleteBody, "the body is not what aws-chunked encoding looks like, or broke off").because(err)
}
