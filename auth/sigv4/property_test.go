package sigv4

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func httpRequest(t fataler, method, address string) *http.Request {
	r, err := http.NewRequest(method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func setBody(body string) func(*http.Request) {
	return func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(body)) }
}

func rename(id string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), keyID, id, 1))
	}
}

// any request that a client may send, and its signature by the AWS SDK.
func drawRequest(t *rapid.T) *http.Request {
	text := rapid.StringOfN(rapid.Rune(), 0, 20, -1)
	path := "/"
	for _, part := range rapid.SliceOfN(rapid.StringOfN(rapid.Rune(), 1, 10, -1), 1, 4).Draw(t, "path") {
		if part == "." || part == ".." {
			part = "dots"
		}
		path += url.PathEscape(part) + "/"
	}
	query := url.Values{}
	for _, name := range rapid.SliceOfN(text, 0, 5).Draw(t, "names") {
		query[name] = rapid.SliceOfN(text, 1, 3).Draw(t, "values")
	}
	value := rapid.StringMatching(`[ !-~é]{0,20}`)
	header := http.Header{"X-Amz-Meta": {"a fixed one"}}
	for _, name := range rapid.SliceOfN(rapid.StringMatching(`X-[A-Z][a-z0-9]{0,8}(-[A-Z][a-z]{0,70})?`), 0, 4).Draw(t, "headers") {
		header[name] = rapid.SliceOfN(value, 1, 3).Draw(t, "header values")
	}
	delete(header, "X-Amz-Date")
	s := signing{header: rapid.Bool().Draw(t, "payload told")}
	if rapid.Bool().Draw(t, "presigned") {
		s.presign = 5 * time.Minute
	}
	method := rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE"}).Draw(t, "method")
	return sign(t, method, "http://127.0.0.1:4765"+path+"?"+query.Encode(), rapid.StringN(0, 100, -1).Draw(t, "body"), header, s)
}

// TestVerifierAgreesWithTheSDK: what the SDK's signer signs is accepted, also
// with headers more; with any signed part changed it is not.
func TestVerifierAgreesWithTheSDK(t *testing.T) {
	v := verifier(t)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		try := func(r *http.Request, body []byte) error {
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			_, err := verify(v, r)
			return err
		}
		if err := try(r, body); err != nil {
			t.Fatalf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
		}
		more := r.Clone(r.Context())
		more.Header.Set("X-Unsigned-Header", "anything")
		more.Header.Set("X-Amzn-Trace-Id", "Root=1")
		pairs := strings.Split(more.URL.RawQuery, "&")
		slices.Reverse(pairs)
		more.URL.RawQuery = strings.Join(pairs, "&")
		if err := try(more, body); err != nil {
			t.Fatalf("with unsigned headers, and the query in another order: %v", err)
		}

		for name, change := range tampering(r) {
			c := r.Clone(r.Context())
			change(c)
			if err := try(c, body); err == nil {
				t.Fatalf("accepted with another %s", name)
			}
		}
		if err := try(r, append(body, 'x')); err == nil && r.ContentLength != 0 { // nobody reads a body of length 0
			t.Fatal("accepted with another body")
		}
	})
}

// tampering is one change for every part that is signed.
func tampering(r *http.Request) map[string]func(*http.Request) {
	all := map[string]func(*http.Request){
		"method": func(r *http.Request) { r.Method = "PATCH" },
		"path":   func(r *http.Request) { r.URL.Path += "x"; r.URL.RawPath = "" },
		"host":   func(r *http.Request) { r.Host = "127.0.0.1:4766" },
		"query":  func(r *http.Request) { r.URL.RawQuery += "&added=1" },
	}
	query := r.URL.Query()
	for name := range query {
		all["parameter "+name] = func(r *http.Request) {
			q := r.URL.Query()
			if name == "X-Amz-Signature" {
				q.Set(name, flip(q.Get(name)))
			} else {
				q.Set(name, q.Get(name)+"1")
			}
			r.URL.RawQuery = q.Encode()
		}
		all["without parameter "+name] = func(r *http.Request) {
			q := r.URL.Query()
			q.Del(name)
			r.URL.RawQuery = q.Encode()
		}
	}
	signed := query.Get("X-Amz-SignedHeaders")
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		_, rest, _ := strings.Cut(authorization, "SignedHeaders=")
		signed, _, _ = strings.Cut(rest, ",")
		end := len(authorization) - 1
		all["signature"] = func(r *http.Request) {
			r.Header.Set("Authorization", authorization[:end]+flip(authorization[end:]))
		}
		for i, part := range []string{keyID, region, service, signed} {
			all[fmt.Sprint("authorization ", i)] = func(r *http.Request) {
				r.Header.Set("Authorization", strings.Replace(authorization, part, part+"x", 1))
			}
		}
	}
	for name := range strings.SplitSeq(signed, ";") {
		if name == "host" {
			continue
		}
		canonical := http.CanonicalHeaderKey(name)
		all["header "+name] = func(r *http.Request) { r.Header[canonical] = []string{r.Header.Get(canonical) + "1"} }
		all["header more "+name] = func(r *http.Request) { r.Header.Add(canonical, "1") }
		if name != "content-length" { // that is in the request in any case
			all["without header "+name] = func(r *http.Request) { r.Header.Del(canonical) }
		}
	}
	return all
}

// flip is another hexadecimal text.
func flip(s string) string {
	if s == "" {
		return "0"
	}
	if s[0] == '0' {
		return "1" + s[1:]
	}
	return "0" + s[1:]
}
