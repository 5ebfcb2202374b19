package objects

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/johannesboyne/gofakes3"
)

// Handler serves the S3 API, in path style and as bucket.localhost. It must
// get requests as they came: a mux before it would clean their paths, and keys
// may hold // and "..". Nothing is authenticated.
//
// gofakes3 answers what it answers as S3 does. In front of it stands what it
// lacks: a request passes only if each of its query parameters is known, since
// gofakes3 takes an unknown sub-resource for an object; bodies are decoded and
// checked; and errors carry their reasons.
func (s *Store) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// call is one request.
type call struct {
	*http.Request
	store       *Store
	id          string // of the request
	region      string // that the client signed for
	bucket, key string
	body        *body
	out         http.Header // of the answer
	fault       error       // what a backend's method or the body failed with
}

func (s *Store) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r.Clone(r.Context()), store: s, id: newID(), region: signedRegion(r), out: w.Header()}
	c.out.Set("X-Amz-Request-Id", c.id)
	c.bucket, c.key = split(r)
	if err := c.serve(w); err != nil {
		f := asFault(err)
		if f.code == gofakes3.ErrInternal {
			s.log.Error("s3 request failed", "request", c.id, "method", r.Method, "bucket", c.bucket, "error", f.cause)
		}
		f.write(w, r, c.id)
	}
}

// split finds bucket and key in the path, or the bucket in the host name.
func split(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	host, _, _ := strings.Cut(r.Host, ":")
	if name, ok := strings.CutSuffix(host, ".localhost"); ok && name != "s3" {
		return strings.TrimSuffix(name, ".s3"), path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// signedRegion is the region in the credential scope, us-east-1 if there is none.
func signedRegion(r *http.Request) string {
	credential := r.URL.Query().Get("X-Amz-Credential")
	if credential == "" {
		_, credential, _ = strings.Cut(r.Header.Get("Authorization"), "Credential=")
		credential, _, _ = strings.Cut(credential, ",")
	}
	if parts := strings.Split(strings.TrimSpace(credential), "/"); len(parts) >= 5 {
		return parts[len(parts)-3]
	}
	return "us-east-1"
}

// serve answers the request, or returns what is wrong with it.
func (c *call) serve(w http.ResponseWriter) error {
	sub, err := subResource(c.URL.Query())
	if err != nil {
		return err
	}
	if c.body, err = newBody(c); err != nil {
		return err
	}
	c.Body = c.body
	switch {
	case c.bucket == "":
		return c.serveService(w, sub)
	case c.key == "":
		return c.serveBucket(w, sub)
	default:
		return c.serveObject(w, sub)
	}
}

func (c *call) serveService(w http.ResponseWriter, sub string) error {
	if sub != "" || c.Method != http.MethodGet {
		return c.notOffered(sub)
	}
	return c.pass(w)
}

func (c *call) serveBucket(w http.ResponseWriter, sub string) error {
	switch _, isDocument := documents[sub]; {
	case isDocument:
		return c.serveDocument(w, sub)
	case sub == "" && c.Method == http.MethodPut:
		return c.createBucket(w)
	case sub == "location" && c.Method == http.MethodGet:
		return c.bucketLocation(w)
	case sub == "" && c.Method == http.MethodHead:
		return c.headBucket(w)
	case sub == "versioning" && c.Method == http.MethodGet:
		return c.bucketVersioning(w)
	case sub == "" && (c.Method == http.MethodGet || c.Method == http.MethodDelete),
		(sub == "versions" || sub == "uploads") && c.Method == http.MethodGet,
		sub == "delete" && c.Method == http.MethodPost,
		sub == "versioning" && c.Method == http.MethodPut:
		c.limitBody(maxDocument)
		return c.pass(w)
	}
	return c.notOffered(sub)
}

func (c *call) serveObject(w http.ResponseWriter, sub string) error {
	if err := checkKey(c.key); err != nil {
		return err
	}
	copies := c.Header.Get("X-Amz-Copy-Source") != ""
	switch {
	case sub == "" && (c.Method == http.MethodGet || c.Method == http.MethodHead):
		return c.readObject(w)
	case sub == "" && c.Method == http.MethodPut && copies:
		return c.copyObject(w)
	case sub == "tagging":
		return c.serveTags(w)
	case sub == "uploadId" && c.Method == http.MethodPut && copies:
		return c.copyPart(w)
	case sub == "uploads" && c.Method == http.MethodPost, sub == "uploadId" && c.Method == http.MethodPost:
		c.limitBody(maxDocument)
		return c.pass(w)
	case sub == "" && (c.Method == http.MethodPut || c.Method == http.MethodDelete),
		sub == "uploadId" && (c.Method == http.MethodGet || c.Method == http.MethodPut || c.Method == http.MethodDelete):
		return c.pass(w)
	}
	return c.notOffered(sub)
}

// maxDocument bounds the XML of a request: a CompleteMultipartUpload with
// 10,000 parts has about 2 MB.
const maxDocument = 4 << 20

func (c *call) limitBody(n int64) { c.body.limit = n }

func (c *call) notOffered(sub string) error {
	what := c.Method
	if sub != "" {
		what += " ?" + sub
	}
	return faultf(gofakes3.ErrNotImplemented, "Isolde's S3 endpoint does not offer %s here; docs/AWS-SERVICES.md lists what it does", what)
}

// parameters are what a query may hold beside its sub-resource.
var parameters = map[string]bool{
	"list-type": true, "prefix": true, "delimiter": true, "max-keys": true, "marker": true, "continuation-token": true,
	"start-after": true, "fetch-owner": true, "encoding-type": true, "versionId": true, "partNumber": true,
	"key-marker": true, "version-id-marker": true, "upload-id-marker": true, "max-uploads": true, "max-parts": true,
	"part-number-marker": true, "max-buckets": true, "bucket-region": true, "x-id": true, "AWSAccessKeyId": true, "Signature": true, "Expires": true,
}

// subResource is the one parameter that names what of a bucket or object is
// asked for; empty for the thing itself.
func subResource(query url.Values) (string, error) {
	sub := ""
	for name := range query {
		lower := strings.ToLower(name)
		if parameters[name] || strings.HasPrefix(lower, "x-amz-") || strings.HasPrefix(lower, "response-") {
			continue
		}
		if sub != "" {
			return "", faultf(gofakes3.ErrInvalidArgument, "the query has both ?%s and ?%s", min(sub, name), max(sub, name))
		}
		sub = name
	}
	return sub, nil
}

// checkKey refuses what S3 refuses, and control characters, which XML cannot carry.
func checkKey(key string) error {
	if len(key) > gofakes3.KeySizeLimit {
		return faultf(gofakes3.ErrKeyTooLong, "the key has %d bytes; %d are allowed", len(key), gofakes3.KeySizeLimit)
	}
	if !utf8.ValidString(key) {
		return faultf(gofakes3.ErrInvalidURI, "the key %q is not UTF-8", key)
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff }) {
		return faultf(gofakes3.ErrInvalidArgument, "the key %q holds a control character", key)
	}
	return nil
}

// pass lets gofakes3 answer, over a backend that knows the request.
func (c *call) pass(w http.ResponseWriter) error {
	c.prepare()
	a := &answer{ResponseWriter: w, call: c}
	gofakes3.New(&backend{c},
		gofakes3.WithTimeSkewLimit(0), gofakes3.WithMetadataSizeLimit(0), gofakes3.WithLogger(gofakes3.DiscardLog()),
	).Server().ServeHTTP(a, c.Request)
	a.WriteHeader(http.StatusOK) // where gofakes3 leaves that to the server
	return a.failed
}

// prepare puts the request in the form that gofakes3 reads: path style, a
// decoded body with its length, and no header that it would obey but S3 not.
func (c *call) prepare() {
	c.URL.Path = "/" + c.bucket
	if c.key != "" {
		c.URL.Path += "/" + c.key
	}
	c.URL.RawPath = ""
	c.Header.Del("X-Minio-Force-Delete")
	c.Header.Del("X-Amz-Content-Sha256")
	c.Header.Del("Origin") // it is not for gofakes3 to let other sites in
	if c.body.size >= 0 {
		c.Header.Set("Content-Length", strconv.FormatInt(c.body.size, 10))
		c.ContentLength = c.body.size
	}
}

// answer takes gofakes3's answers: errors of the backend come out with their
// own code and reason, and no web page is let in.
type answer struct {
	http.ResponseWriter
	call   *call
	began  bool
	failed error // to be answered in place of what gofakes3 writes
}

func (a *answer) WriteHeader(status int) {
	if a.began {
		return
	}
	a.began = true
	for name := range a.Header() {
		if strings.HasPrefix(name, "Access-Control-") {
			a.Header().Del(name)
		}
	}
	a.Header().Del("Server")
	a.Header().Set("X-Amz-Request-Id", a.call.id)
	if status >= http.StatusBadRequest && a.call.fault != nil {
		a.failed = a.call.fault
		return
	}
	if a.Header().Get("Content-Type") == "" {
		a.Header().Set("Content-Type", "application/xml")
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.failed != nil {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}
