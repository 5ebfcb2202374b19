package http1

import (
	"bytes"
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// The names that decide how a message is framed, or for whom it is.
const (
	connection       = "Connection"
	contentLength    = "Content-Length"
	contentType      = "Content-Type"
	date             = "Date"
	expect           = "Expect"
	host             = "Host"
	pragma           = "Pragma"
	trailer          = "Trailer"
	transferEncoding = "Transfer-Encoding"
	upgrade          = "Upgrade"
)

var headEnd = []byte("\r\n\r\n")

// head is the head of a plain message.
type head struct {
	first   string // the first line
	header  http.Header
	length  int64 // -1: Content-Length is absent
	chunked bool
	close   bool
}

// parseHead reads the head that b begins with, up to and with its empty line.
// It is strict: ok is false for whatever a well-behaved peer does not send, and
// for what this package leaves to net/http. size is 0 then if b does not hold
// the whole head yet, and else negative.
func parseHead(b []byte) (h head, size int, ok bool) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return h, 0, false
	}
	text := string(b[:end+2]) // what the names and values below are parts of
	h.length = -1
	h.first, text, _ = strings.Cut(text, "\r\n")
	if !isText(h.first) {
		return h, -1, false
	}
	lines := strings.Count(text, "\r\n")
	h.header = make(http.Header, lines)
	values := make([]string, lines) // one allocation for all
	for text != "" {
		colon, end := strings.IndexByte(text, ':'), strings.IndexByte(text, '\r')
		if colon < 0 || colon > end || text[end+1] != '\n' {
			return h, -1, false
		}
		name, ok := canonical(text[:colon])
		value := trim(text[colon+1 : end])
		if !ok || !isText(value) {
			return h, -1, false
		}
		text = text[end+2:]
		if !h.frame(name, value) {
			return h, -1, false
		}
		if have := h.header[name]; have != nil {
			h.header[name] = append(have, value)
			continue
		}
		values[0] = value
		h.header[name] = values[:1:1]
		values = values[1:]
	}
	return h, end + len(headEnd), true
}

// frame takes note of what decides the message's framing.
func (h *head) frame(name, value string) (ok bool) {
	switch name {
	case contentLength:
		if h.length >= 0 || h.chunked {
			return false
		}
		h.length, ok = parseLength(value)
		return ok
	case transferEncoding:
		if h.length >= 0 || h.chunked || value != "chunked" {
			return false
		}
		h.chunked = true
	case connection:
		switch {
		case h.close || h.header[connection] != nil:
			return false
		case strings.EqualFold(value, "close"):
			h.close = true
		case !strings.EqualFold(value, "keep-alive"):
			return false
		}
	case upgrade, trailer, expect, pragma:
		return false
	}
	return true
}

// parseLength reads a Content-Length: digits, and not more than fit.
func parseLength(s string) (n int64, ok bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// requestHead makes of a plain head the request it begins; nil if it is not a
// request that this package serves. Its Body is not set.
//
// last is the target of the connection's request before: most are for the same.
func (h *head) request(ctx context.Context, last *target) *http.Request {
	method, rest, _ := strings.Cut(h.first, " ")
	uri, proto, _ := strings.Cut(rest, " ")
	hosts := h.header[host]
	if !isToken(method) || proto != "HTTP/1.1" || h.chunked || h.close || len(hosts) != 1 || !isHost(hosts[0]) {
		return nil
	}
	if uri == "" {
		return nil
	}
	if last.uri != uri {
		if uri[0] != '/' || strings.ContainsAny(uri, "\t#") {
			return nil
		}
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			return nil
		}
		*last = target{uri, *u}
	}
	delete(h.header, host)
	req, err := http.NewRequestWithContext(ctx, method, "/", nil) // the only way to set a context without a copy
	if err != nil {
		return nil
	}
	*req.URL = last.url
	req.RequestURI, req.Host, req.Header, req.ContentLength = uri, hosts[0], h.header, max(h.length, 0)
	return req
}

// target is what a request is for.
type target struct {
	uri string
	url url.URL
}

// response makes of a plain head the response it begins; nil if it is not one
// with a body that says where it ends. Its Body is not set.
func (h *head) response(req *http.Request) *http.Response {
	proto, status, _ := strings.Cut(h.first, " ")
	code, _, _ := strings.Cut(status, " ")
	if proto != "HTTP/1.1" || len(code) != 3 || h.length < 0 && !h.chunked || strings.HasPrefix(status, " ") {
		return nil
	}
	n, ok := parseLength(code)
	if !ok || n < 200 || n == http.StatusNoContent || n == http.StatusNotModified {
		return nil
	}
	resp := &http.Response{
		Status: status, StatusCode: int(n), Proto: proto, ProtoMajor: 1, ProtoMinor: 1,
		Header: h.header, ContentLength: h.length, Close: h.close, Request: req,
	}
	if h.close {
		delete(h.header, connection)
	}
	if h.chunked {
		delete(h.header, transferEncoding)
		resp.TransferEncoding = chunkedEncoding
	}
	return resp
}

var chunkedEncoding = []string{"chunked"}

// common are names in the form that many peers send them in, which textproto
// would copy.
var common = map[string]string{
	"content-type": contentType, "content-length": contentLength, "transfer-encoding": transferEncoding,
	"host": host, "date": date, "server": "Server", "connection": connection, "accept": "Accept",
	"user-agent": "User-Agent", "accept-encoding": "Accept-Encoding", "authorization": "Authorization",
	"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id",
}

// canonical is net/http's form of a name; ok is false if it is not a token.
func canonical(name string) (_ string, ok bool) {
	is, upper := true, true // the next letter is to be one
	for i := range len(name) {
		c := name[i]
		if !tokens[c] {
			return "", false
		}
		if upper {
			is = is && (c < 'a' || c > 'z')
		} else {
			is = is && (c < 'A' || c > 'Z')
		}
		upper = c == '-'
	}
	if is {
		return name, name != ""
	}
	if c, ok := common[name]; ok {
		return c, true
	}
	return textproto.CanonicalMIMEHeaderKey(name), true
}

// trim is without the spaces and tabs at both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// isToken says whether s is a token of RFC 9110, as names and methods are.
func isToken(s string) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokens = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

// isText says whether s is ASCII without control characters.
func isText(s string) bool {
	for i := range len(s) {
		if !texts[s[i]] {
			return false
		}
	}
	return true
}

var texts = func() (t [256]bool) {
	t['\t'] = true
	for c := ' '; c <= '~'; c++ {
		t[c] = true
	}
	return t
}()

// isHost says whether s looks like a host with or without a port.
func isHost(s string) bool {
	for i := range len(s) {
		if !hosts[s[i]] {
			return false
		}
	}
	return s != ""
}

var hosts = func() (t [256]bool) {
	for _, c := range "-._:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()
