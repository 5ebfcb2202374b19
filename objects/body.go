package objects

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"github.com/isolde-run/isolde"
)

// The checksums that are computed, by the name of their header. SDKs send one
// with each upload, CRC-32 or CRC-64/NVME by default; others are kept unchecked.
var checksums = map[string]func() hash.Hash{
	"X-Amz-Checksum-Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"X-Amz-Checksum-Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"X-Amz-Checksum-Crc64nvme": func() hash.Hash { return crc64.New(nvme) },
	"X-Amz-Checksum-Sha1":      sha1.New,
	"X-Amz-Checksum-Sha256":    sha256.New,
}

var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// body is a request's body: decoded, and checked when it ends.
type body struct {
	call    *call
	r       io.Reader
	chunks  *chunkReader // nil unless the body is aws-chunked
	size    int64        // of what is read; -1 if the client did not say
	limit   int64        // refuses more; 0 for none
	read    int64
	sums    map[string]hash.Hash // by header
	payload hash.Hash            // nil unless the client told the body's SHA-256
	sha256  string               // that is, in hexadecimal digits
}

func newBody(c *call) (*body, error) {
	b := &body{call: c, r: c.Body, size: c.ContentLength, sums: map[string]hash.Hash{}}
	sha := c.Header.Get("X-Amz-Content-Sha256")
	if encoding := stripChunked(c.Header); encoding || strings.HasPrefix(sha, "STREAMING-") {
		size, err := strconv.ParseInt(c.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || size < 0 {
			return nil, faultf(gofakes3.ErrMissingContentLength, "an aws-chunked body needs x-amz-decoded-content-length")
		}
		b.chunks = newChunkReader(c.Body)
		b.r, b.size = b.chunks, size
	}
	if len(sha) == hex.EncodedLen(sha256.Size) {
		b.payload, b.sha256 = sha256.New(), sha
	}
	if c.Method == http.MethodPost && c.URL.Query().Has("uploadId") {
		return b, nil // CompleteMultipartUpload: checksums are the object's, not the body's
	}
	for name, make := range checksums {
		if c.Header.Get(name) != "" || strings.EqualFold(c.Header.Get("X-Amz-Trailer"), name) {
			b.sums[name] = make()
		}
	}
	return b, nil
}

// stripChunked takes aws-chunked out of Content-Encoding, as it is none of the
// object's.
func stripChunked(h http.Header) (found bool) {
	var rest []string
	for e := range strings.SplitSeq(h.Get("Content-Encoding"), ",") {
		if e = strings.TrimSpace(e); strings.EqualFold(e, "aws-chunked") {
			found = true
		} else if e != "" {
			rest = append(rest, e)
		}
	}
	if found {
		h.Del("Content-Encoding")
		if len(rest) > 0 {
			h.Set("Content-Encoding", strings.Join(rest, ","))
		}
	}
	return found
}

// Read returns a fault at the end of a body that is not what its headers say.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.read += int64(n)
	for _, sum := range b.sums {
		sum.Write(p[:n])
	}
	if b.payload != nil {
		b.payload.Write(p[:n])
	}
	if b.limit > 0 && b.read > b.limit {
		err = faultf(codeTooLarge, "the request has more than %d bytes", b.limit)
	}
	if errors.Is(err, io.EOF) {
		if err = b.check(); err == nil {
			return n, io.EOF
		}
	}
	if err == nil {
		return n, nil
	}
	var f *fault
	if !errors.As(err, &f) {
		f = faultf(gofakes3.ErrIncompleteBody, "the connection broke off in the body").because(err)
		if e, ok := errors.AsType[*isolde.Error](err); ok { // of who checks the signature
			f = faultf(codeHashDiffers, "%s", e.Error())
		}
	}
	b.call.fault = f
	return n, f
}

func (b *body) check() error {
	if b.size >= 0 && b.read != b.size {
		return faultf(gofakes3.ErrIncompleteBody, "the body has %d bytes, not the %d that were announced", b.read, b.size)
	}
	if b.payload != nil {
		if got := hex.EncodeToString(b.payload.Sum(nil)); got != b.sha256 {
			return faultf(codeHashDiffers, "the body's SHA-256 is %s, but x-amz-content-sha256 says %s", got, b.sha256)
		}
	}
	for name, got := range b.checksums() {
		want := b.call.Header.Get(name)
		if want == "" && b.chunks != nil {
			want = b.chunks.trailer.Get(name)
		}
		if got != want {
			return faultf(gofakes3.ErrBadDigest, "the body's checksum is %s, but %s says %s", got, strings.ToLower(name), want)
		}
	}
	return nil
}

// checksums are those computed so far, as S3 writes them, by header.
func (b *body) checksums() map[string]string {
	all := make(map[string]string, len(b.sums))
	for name, sum := range b.sums {
		all[name] = base64.StdEncoding.EncodeToString(sum.Sum(nil))
	}
	return all
}

// Close leaves the connection's body to the HTTP server.
func (b *body) Close() error { return nil }
