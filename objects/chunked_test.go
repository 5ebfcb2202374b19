package objects

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestChunkedBodies(t *testing.T) {
	const signature = ";chunk-signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct{ in, want, trailer string }{
		"unsigned with trailer": {"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "hello world", "DUoRhQ=="},
		"signed":                {"5" + signature + "\r\nhello\r\n0" + signature + "\r\n\r\n", "hello", ""},
		"signed with trailer":   {"b" + signature + "\r\nhello world\r\n0" + signature + "\r\nx-amz-checksum-crc32:DUoRhQ==\r\nx-amz-trailer-signature:00\r\n\r\n", "hello world", "DUoRhQ=="},
		"nothing":               {"0\r\n\r\n", "", ""},
		"data like a head":      {"7\r\n5\r\nab\r\n\r\n0\r\n\r\n", "5\r\nab\r\n", ""},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			chunks := newChunkReader(r)
			got, err := io.ReadAll(chunks)
			if string(got) != c.want || err != nil || chunks.trailer.Get("x-amz-checksum-crc32") != c.trailer {
				t.Errorf("%s: %q, trailer %v, %v", name, got, chunks.trailer, err)
			}
		}
	}
	for _, in := range []string{"", "5", "5\r\nhell", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhelloo\r\n0\r\n\r\n", "-1\r\n", "x\r\n", "fffffffffffffffff\r\n", "0\r\nnocolon\r\n\r\n", "0\r\n" + strings.Repeat("a:b\r\n", 20) + "\r\n"} {
		if got, err := io.ReadAll(newChunkReader(strings.NewReader(in))); err == nil {
			t.Errorf("%q was read as %q", in, got)
		}
	}
}

func FuzzChunkedBody(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"), true)
	f.Add([]byte("5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, in []byte, slow bool) {
		var r io.Reader = bytes.NewReader(in)
		if slow {
			r = iotest.OneByteReader(r)
		}
		got, err := io.ReadAll(newChunkReader(r))
		if len(got) > len(in) {
			t.Errorf("%d bytes of %d", len(got), len(in))
		}
		if err == nil && !bytes.Contains(in, []byte("0")) {
			t.Errorf("ended without a last chunk: %q", in)
		}
	})
}

// TestBodyChecks sends bodies by hand, as SDKs do that the Go SDK does not.
func TestBodyChecks(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("body-checks")
	const trailer = "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
	streaming := map[string]string{
		"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length": "11",
		"X-Amz-Trailer": "x-amz-checksum-crc32", "Content-Encoding": "gzip,aws-chunked",
	}
	with := func(header, value string) map[string]string {
		all := map[string]string{header: value}
		for k, v := range streaming {
			if _, ok := all[k]; !ok {
				all[k] = v
			}
		}
		return all
	}
	for name, c := range map[string]struct {
		body    string
		headers map[string]string
		want    string // the error's code
	}{
		"trailer":         {trailer, streaming, ""},
		"wrong trailer":   {strings.Replace(trailer, "DUoR", "XUoR", 1), streaming, "BadDigest"},
		"missing trailer": {"b\r\nhello world\r\n0\r\n\r\n", streaming, "BadDigest"},
		"no last chunk":   {"b\r\nhello world\r\n", with("X-Amz-Trailer", ""), "IncompleteBody"},
		"too short":       {trailer, with("X-Amz-Decoded-Content-Length", "12"), "IncompleteBody"},
		"too long":        {trailer, with("X-Amz-Decoded-Content-Length", "10"), "IncompleteBody"},
		"no length":       {trailer, with("X-Amz-Decoded-Content-Length", ""), "MissingContentLength"},
		"wrong SHA-256":   {"hello world", map[string]string{"X-Amz-Content-Sha256": strings.Repeat("0", 64)}, "XAmzContentSHA256Mismatch"},
		"unsigned":        {"hello world", map[string]string{"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}, ""},
		"CRC-64/NVME":     {"123456789", map[string]string{"X-Amz-Checksum-Crc64nvme": "rosUhgp5mIg="}, ""},
		"wrong CRC-32C":   {"hello world", map[string]string{"X-Amz-Checksum-Crc32c": "AAAAAA=="}, "BadDigest"},
		"wrong MD5":       {"hello world", map[string]string{"Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "BadDigest"},
		"unknown":         {"hello world", map[string]string{"X-Amz-Checksum-Xxhash64": "AAAA"}, ""},
	} {
		answer := b.send(http.MethodPut, "/"+bucket+"/"+strings.ReplaceAll(name, " ", "-"), c.body, c.headers)
		if !strings.Contains(answer, "<Code>"+c.want+"</Code>") && (c.want != "" || !strings.HasPrefix(answer, "200")) {
			t.Errorf("%s: %s; want %s", name, answer, c.want)
		}
	}
	if text, err := b.get(bucket, "trailer", ""); text != "hello world" {
		t.Errorf("trailer = %q, %v", text, err)
	}
	if _, err := b.get(bucket, "wrong-trailer", ""); codeOf(err) != "NoSuchKey" {
		t.Errorf("a body with a wrong checksum was stored: %v", err)
	}
	if left := b.files("tmp"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// send makes a request that is not signed and returns status and body.
func (b *bed) send(method, path, body string, headers map[string]string) string {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	if host := headers["Host"]; host != "" {
		req.Host = host
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.Fatal(errors.Unwrap(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			b.Errorf("%s %s lets web pages in: %s", method, path, name)
		}
	}
	return resp.Status + " " + string(text)
}
