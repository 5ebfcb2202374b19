package http1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func plainRequest(b []byte) (*http.Request, int) {
	h, size, ok := parseHead(b)
	if !ok {
		return nil, size
	}
	return h.request(context.Background(), &target{}), size
}

var requests = []struct {
	name, text string
	plain      bool
}{
	{"plain", "POST /a?b=c HTTP/1.1\r\nHost: x:1\r\nContent-Length: 2\r\n\r\n{}", true},
	{"lower case, spaces", "POST /a HTTP/1.1\r\nhost:x\r\ncontent-type: \t a b \r\nx-y:\r\n\r\n", true},
	{"a header twice", "POST /a HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\nB: 3\r\n\r\n", true},
	{"kept alive", "POST /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", true},
	{"escaped", "POST /a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"two lengths", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", false},
	{"two lengths in one", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n", false},
	{"signed length", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n", false},
	{"huge length", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n", false},
	{"empty length", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", false},
	{"length and chunks", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", false},
	{"chunks", "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", false},
	{"space before colon", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\n", false},
	{"folded", "POST /a HTTP/1.1\r\nHost: x\r\nA: 1\r\n 2\r\n\r\n", false},
	{"bare line feed", "POST /a HTTP/1.1\nHost: x\n\n", false},
	{"line feed in a head", "POST /a HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\n", false},
	{"bare carriage return", "POST /a HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", false},
	{"NUL", "POST /a HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", false},
	{"no host", "POST /a HTTP/1.1\r\n\r\n", false},
	{"two hosts", "POST /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", false},
	{"odd host", "POST /a HTTP/1.1\r\nHost: x/y\r\n\r\n", false},
	{"absolute", "POST http://x/a HTTP/1.1\r\nHost: y\r\n\r\n", false},
	{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: y\r\n\r\n", false},
	{"HTTP/1.0", "POST /a HTTP/1.0\r\nHost: x\r\n\r\n", false},
	{"HTTP/1.1 and more", "POST /a HTTP/1.1 \r\nHost: x\r\n\r\n", false},
	{"bad escape", "POST /a%zz HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"closing", "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false},
	{"upgrade", "POST /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", false},
	{"expectation", "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", false},
	{"trailer", "POST /a HTTP/1.1\r\nHost: x\r\nTrailer: A\r\n\r\n", false},
	{"not whole", "POST /a HTTP/1.1\r\nHost: x\r\n", false},
}

func TestOnlyPlainRequestsAreRead(t *testing.T) {
	for _, test := range requests {
		if req, _ := plainRequest([]byte(test.text)); (req != nil) != test.plain {
			t.Errorf("%s: plain is %v, want %v", test.name, req != nil, test.plain)
		}
	}
}

// FuzzRequest wants every request that is read here to be read by net/http,
// and in the same way.
func FuzzRequest(f *testing.F) {
	for _, test := range requests {
		f.Add([]byte(test.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, size := plainRequest(b)
		if got == nil {
			return
		}
		r := bufio.NewReader(bytes.NewReader(b))
		want, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if rest, _ := io.ReadAll(r); want.Body == http.NoBody && len(rest) != len(b)-size {
			t.Errorf("%d bytes follow the head, net/http says %d", len(b)-size, len(rest))
		}
		type essence struct {
			Method, URI, URL, Path, RawPath, Query, Host, Proto string
			Header                                              http.Header
			Length                                              int64
			Close                                               bool
			Encoding                                            []string
		}
		of := func(r *http.Request) essence {
			return essence{
				r.Method, r.RequestURI, r.URL.String(), r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.Host, r.Proto,
				r.Header, r.ContentLength, r.Close, r.TransferEncoding,
			}
		}
		if diff := cmp.Diff(of(want), of(got)); diff != "" {
			t.Errorf("(-net/http +http1):\n%s", diff)
		}
	})
}

var responses = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a\r\n\r\n{}",
	"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 0200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
}

// FuzzResponse does the same for responses.
func FuzzResponse(f *testing.F) {
	for _, s := range responses {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, size, ok := parseHead(b)
		if !ok {
			return
		}
		got := h.response(nil)
		if got == nil {
			return
		}
		req := &http.Request{Method: http.MethodPost}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), req)
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		type essence struct {
			Status   string
			Code     int
			Header   http.Header
			Length   int64
			Close    bool
			Encoding []string
		}
		of := func(r *http.Response) essence {
			return essence{r.Status, r.StatusCode, r.Header, r.ContentLength, r.Close, r.TransferEncoding}
		}
		if diff := cmp.Diff(of(want), of(got)); diff != "" {
			t.Errorf("(-net/http +http1), head of %d bytes:\n%s", size, diff)
		}
	})
}

// Whatever comes in chunks, what is sent on is framed as net/http reads it.
func FuzzChunk(f *testing.F) {
	f.Add("x")
	f.Add(strings.Repeat("abc", 10000))
	f.Fuzz(func(t *testing.T, data string) {
		if data == "" || len(data) > bulk-chunkRoom-2 {
			return
		}
		buf := make([]byte, bulk)
		copy(buf[chunkRoom:], data)
		framed := append(append([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), chunk(buf, len(data))...), lastChunk...)
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(framed)), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != data {
			t.Errorf("read %q, %v", got, err)
		}
	})
}
