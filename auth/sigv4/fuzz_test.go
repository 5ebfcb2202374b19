package sigv4

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// FuzzBegin sends arbitrary headers and queries: none is accepted, none
// panics, and every error is one for the caller, of a bounded size.
func FuzzBegin(f *testing.F) {
	for _, s := range []signing{{}, {header: true}, {presign: time.Minute}} {
		r := sign(f, "POST", address, "x", nil, s)
		f.Add(r.Header.Get("Authorization"), r.URL.RawQuery, r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Content-Sha256"))
	}
	v := verifier(f)
	f.Fuzz(func(t *testing.T, authorization, query, date, payload string) {
		r := &http.Request{Method: "POST", Host: "h", URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{
			"Authorization": {authorization}, "X-Amz-Date": {date}, "X-Amz-Content-Sha256": {payload},
		}}
		if authorization == "" {
			delete(r.Header, "Authorization")
		}
		_, err := verifyAll(v, r)
		if err == nil {
			t.Fatalf("accepted %v %q", r.Header, query)
		}
		if code := isolde.CodeOf(err); code == isolde.CodeInternal {
			t.Fatalf("%s: %v", code, err)
		}
		if len(err.Error()) > 1000 {
			t.Fatalf("%d bytes of error: %v", len(err.Error()), err)
		}
	})
}

func verifyAll(v *Verifier, r *http.Request) (string, error) {
	r.Body = http.NoBody
	return verify(v, r)
}

// FuzzQuery: what is canonical means what the handler reads, is its own
// canonical form, and what a handler could not read is refused.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "b&a&&=", "a=%41+%2f&a=%2F", "a=%zz", "a;b", "%", "é=ü", "k=a/b&k=a-b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		want, wantErr := url.ParseQuery(raw)
		var c canonical
		err := c.query(raw, false)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: %v, but net/url says %v", raw, err, wantErr)
		}
		if err != nil {
			return
		}
		text := string(c.buf)
		got, err := url.ParseQuery(text)
		if err != nil {
			t.Fatalf("%q became %q: %v", raw, text, err)
		}
		same := len(got) == len(want)
		for name := range want {
			same = same && count(got[name]) == count(want[name])
		}
		if !same {
			t.Fatalf("%q became %q: %v, want %v", raw, text, got, want)
		}
		var again canonical
		if err := again.query(text, false); err != nil || string(again.buf) != text {
			t.Fatalf("%q, then %q: %v", text, again.buf, err)
		}
	})
}

// count is the values whatever their order, which is not signed.
func count(values []string) string {
	n := 0
	for _, v := range values {
		for _, b := range []byte(v) {
			n += int(b)
		}
	}
	return strings.Repeat("v", len(values)) + string(rune(n%0xd000))
}
