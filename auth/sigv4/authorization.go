package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	stampLayout = "20060102T150405Z"
	terminator  = "aws4_request"

	// maxAuthorization bounds the Authorization header, and so how many headers
	// can be signed; SDKs send some 300 bytes.
	maxAuthorization = 16 << 10
)

// scope is what a signing key is made for.
type scope struct {
	keyID, date, region, service string
}

// claim is what a request says of its signature.
type claim struct {
	scope
	credential string // all of the scope as it was sent, with the key id
	signed     string // names of the signed headers: lower-case, sorted, separated by semicolons
	signature  [sha256.Size]byte
	stamp      string // the time as it was sent
	time       time.Time
	token      string // the security token; may be empty
	presigned  bool
	expires    time.Duration // of a presigned request
	payload    string        // X-Amz-Content-Sha256; may be empty
}

// Signed says whether a request has a signature of version 4, right or wrong,
// in its header or its query.
func Signed(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") || presigned(r)
}

// presigned looks for the name as every client spells it; spelled another way
// it is a parameter like others.
func presigned(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") }

// readClaim finds the one signature of a request.
func readClaim(r *http.Request) (claim, error) {
	headers := r.Header["Authorization"]
	switch {
	case len(headers) > 1:
		return claim{}, malformed("the request has %d Authorization headers", len(headers))
	case presigned(r) && len(headers) == 1 && strings.HasPrefix(headers[0], "AWS4-"):
		return claim{}, malformed("the request is signed twice, in its Authorization header and in its query")
	case presigned(r):
		return fromQuery(r)
	case len(headers) == 1 && headers[0] != "":
		return fromHeader(headers[0], r.Header)
	}
	return claim{}, isolde.Errorf(isolde.CodeNoCredentials, "the request has no credentials").
		WithHint("sign it with SigV4: AWS SDKs do where AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set")
}

func fromHeader(authorization string, h http.Header) (c claim, err error) {
	if c, err = parseAuthorization(authorization); err != nil {
		return claim{}, err
	}
	if c.payload, err = only(h, "X-Amz-Content-Sha256"); err != nil {
		return claim{}, err
	}
	if c.token, err = only(h, "X-Amz-Security-Token"); err != nil {
		return claim{}, err
	}
	stamp, err := only(h, "X-Amz-Date")
	if err != nil {
		return claim{}, err
	}
	if stamp == "" { // botocore signs with Date where its caller set that
		date, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			return claim{}, malformed("the signed request has no X-Amz-Date header")
		}
		stamp = date.UTC().Format(stampLayout)
	}
	return c, c.setTime(stamp)
}

// parseAuthorization reads
//
//	AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
//
// with or without the spaces after the commas, and the fields in any order.
func parseAuthorization(s string) (c claim, err error) {
	if len(s) > maxAuthorization {
		return claim{}, malformed("the Authorization header has %d bytes; %d are allowed", len(s), maxAuthorization)
	}
	rest, ok := strings.CutPrefix(s, algorithm+" ")
	if !ok {
		scheme, _, _ := strings.Cut(s, " ")
		return claim{}, isolde.Errorf(isolde.CodeDenied, "credentials of the kind %q do not count here", shorten(scheme)).
			WithHint("sign the request with SigV4 (%s)", algorithm)
	}
	var credential, signature string
	for field, more := "", true; more; {
		field, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		var to *string
		switch name {
		case "Credential":
			to = &credential
		case "SignedHeaders":
			to = &c.signed
		case "Signature":
			to = &signature
		default:
			return claim{}, malformed("the Authorization header has an unknown field %q", shorten(name))
		}
		if *to != "" || value == "" {
			return claim{}, malformed("the Authorization header must have %s once, with a value", name)
		}
		*to = value
	}
	return c, c.set(credential, signature)
}

// maxPresigned is the longest that a presigned request may be good for, and
// maxPresignedSocket the longest for opening a WebSocket.
const (
	maxPresigned       = 7 * 24 * time.Hour
	maxPresignedSocket = 300 * time.Second
)

func fromQuery(r *http.Request) (c claim, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return claim{}, malformed("the query cannot be parsed").WithCause(err)
	}
	get := func(name string) string {
		if len(query[name]) > 1 && err == nil {
			err = malformed("the query has %s %d times", name, len(query[name]))
		}
		return query.Get(name)
	}
	credential, signature, stamp := get("X-Amz-Credential"), get("X-Amz-Signature"), get("X-Amz-Date")
	given, expires := get("X-Amz-Algorithm"), get("X-Amz-Expires")
	c.presigned = true
	c.signed, c.token, c.payload = get("X-Amz-SignedHeaders"), get("X-Amz-Security-Token"), get("X-Amz-Content-Sha256")
	if header, e := only(r.Header, "X-Amz-Content-Sha256"); e == nil && header != "" {
		c.payload = header
	}
	switch {
	case err != nil:
		return claim{}, err
	case given != algorithm:
		return claim{}, malformed("the query has X-Amz-Algorithm %q; it must be %s", shorten(given), algorithm)
	}
	seconds, e := strconv.ParseUint(expires, 10, 32)
	limit := maxPresigned
	if socket(r) {
		limit = maxPresignedSocket
	}
	if c.expires = time.Duration(seconds) * time.Second; e != nil || seconds == 0 || c.expires > limit {
		return claim{}, malformed("the query has X-Amz-Expires %q; it must be 1 to %d seconds", shorten(expires), int(limit.Seconds()))
	}
	if err := c.set(credential, signature); err != nil {
		return claim{}, err
	}
	return c, c.setTime(stamp)
}

func socket(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// set takes credential and signature apart and checks the signed headers.
func (c *claim) set(credential, signature string) error {
	c.credential = credential
	end := credential
	for _, part := range []*string{nil, &c.service, &c.region, &c.date} { // from the end
		at := strings.LastIndexByte(end, '/')
		if at < 0 {
			return malformed("the credential %q is not of the form <key id>/<date>/<region>/<service>/%s", shorten(credential), terminator)
		}
		if part == nil && end[at+1:] != terminator {
			return malformed("the credential %q must end with /%s", shorten(credential), terminator)
		}
		if part != nil {
			*part = end[at+1:]
		}
		end = end[:at]
	}
	c.keyID = end
	if len(signature) != hex.EncodedLen(len(c.signature)) {
		return malformed("the signature has %d characters; it must have %d", len(signature), hex.EncodedLen(len(c.signature)))
	}
	if _, err := hex.Decode(c.signature[:], []byte(signature)); err != nil {
		return malformed("the signature %q is not hexadecimal", shorten(signature))
	}
	return c.checkSigned()
}

// checkSigned wants the names of the signed headers in the one form that has
// no second reading.
func (c *claim) checkSigned() error {
	host, before := false, ""
	for name, rest, more := "", c.signed, true; more; before = name {
		name, rest, more = strings.Cut(rest, ";")
		if name <= before || !isLowerToken(name) {
			return malformed("the signed headers %q must be lower-case names, sorted, each once", shorten(c.signed))
		}
		host = host || name == "host"
	}
	if !host {
		return malformed("the signed headers %q do not include host", shorten(c.signed))
	}
	return nil
}

// isLowerToken says whether s can be a header's name (RFC 9110, token), in
// lower case.
func isLowerToken(s string) bool {
	for i := range len(s) {
		if !lowerToken[s[i]] {
			return false
		}
	}
	return true
}

func (c *claim) setTime(stamp string) error {
	t, err := time.Parse(stampLayout, stamp)
	if err != nil || len(stamp) != len(stampLayout) {
		return malformed("X-Amz-Date %q is not of the form %s", shorten(stamp), stampLayout)
	}
	if c.stamp, c.time = stamp, t; stamp[:8] != c.date {
		return malformed("X-Amz-Date %s is not of the credential's day %s", stamp, shorten(c.date))
	}
	return nil
}

// only returns the one value of a header, empty where it is missing.
func only(h http.Header, name string) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", malformed("the request has %d %s headers", len(values), name)
	}
}

func malformed(format string, args ...any) *isolde.Error {
	return isolde.Errorf(isolde.CodeMalformed, format, args...)
}

// shorten keeps a stranger's text from filling an error.
func shorten(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
