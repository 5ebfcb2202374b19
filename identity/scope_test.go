package identity

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func request(authorization, query string) *http.Request {
	r := &http.Request{Header: http.Header{}, URL: &url.URL{Path: "/", RawQuery: query}}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func TestSignedFor(t *testing.T) {
	for _, c := range []struct{ authorization, query, want string }{
		{"AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00", "", "s3"},
		{"AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/bedrock-agentcore/aws4_request,SignedHeaders=host,Signature=00", "", "bedrock-agentcore"},
		{"AWS4-ECDSA-P256-SHA256 Credential=AKID/20261122/s3express/aws4_request, SignedHeaders=host, Signature=00", "", "s3express"},
		{"AWS4-HMAC-SHA256 SignedHeaders=host, Credential=A/K/I/D/20261122/us-east-1/iam/aws4_request", "", "iam"},
		{"AWS AKID:c2ln", "", "s3"},
		{"Bearer eyJhbGciOi", "", ""},
		{"AWS4-HMAC-SHA256 Credential=aws4_request", "", ""},
		{"AWS4-HMAC-SHA256 Credential=/aws4_request", "", ""},
		{"AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/../aws4_request", "", ""},
		{"AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/" + strings.Repeat("s", 33) + "/aws4_request", "", ""},
		{"", "x-id=GetObject&X-Amz-Credential=AKID%2F20261122%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=00", "s3"},
		{"", "X-Amz-Credential=AKID%2f20261122%2fus-east-1%2fsts%2faws4_request", "sts"},
		{"", "X-Amz-Credential=AKID/20261122/us-east-1/s3/aws4_request", "s3"},
		{"", "AWSAccessKeyId=AKID&Signature=c2ln&Expires=1900000000", "s3"},
		{"", "qualifier=DEFAULT&Expires=1", ""},
		{"", "NotX-Amz-Credential=AKID/20261122/us-east-1/s3/aws4_request", ""},
		{"", "", ""},
		{"Basic eA==", "X-Amz-Credential=AKID/20261122/us-east-1/s3/aws4_request", "s3"},
	} {
		r := request(c.authorization, c.query)
		if got := SignedFor(r); got != c.want {
			t.Errorf("%s ?%s: %q, want %q", c.authorization, c.query, got, c.want)
		}
		if n := testing.AllocsPerRun(10, func() { SignedFor(r) }); n != 0 {
			t.Errorf("%s ?%s: %v allocations", c.authorization, c.query, n)
		}
	}
}

// FuzzSignedFor signs with AWS's own signer, and hands on what is no signature.
func FuzzSignedFor(f *testing.F) {
	f.Add("AKID", "us-east-1", "s3")
	f.Add("A/K", "a b", "AWS4-HMAC-SHA256 Credential=x/aws4_request")
	f.Fuzz(func(t *testing.T, key, region, service string) {
		if got := SignedFor(request(service, region)); len(got) > maxServiceID || strings.ContainsAny(got, "/%,. ") {
			t.Errorf("%q ?%q: %q", service, region, got)
		}
		valid := lastService("/"+service+"/"+terminator, "/") == service
		if !valid || strings.ContainsAny(key+region, ", \r\n") || strings.Contains(key+region, "Credential=") {
			return
		}
		r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		signer, credentials := v4.NewSigner(), aws.Credentials{AccessKeyID: key, SecretAccessKey: "any"}
		signed, _, err := signer.PresignHTTP(context.Background(), credentials, r, "", service, region, time.Unix(0, 0))
		if err != nil {
			t.Skip(err)
		}
		presigned, err := http.NewRequest(http.MethodGet, signed, nil)
		if err != nil {
			t.Skip(err)
		}
		if got := SignedFor(presigned); got != service {
			t.Errorf("presigned for %q: %q in %s", service, got, signed)
		}
		if err := signer.SignHTTP(context.Background(), credentials, r, "", service, region, time.Unix(0, 0)); err != nil {
			t.Skip(err)
		}
		if got := SignedFor(r); got != service {
			t.Errorf("signed for %q: %q in %s", service, got, r.Header["Authorization"])
		}
	})
}

func BenchmarkSignedFor(b *testing.B) {
	r := request("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLEEXAMPLE/20261122/us-east-1/bedrock-agentcore/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64), "qualifier=DEFAULT")
	b.ReportAllocs()
	for b.Loop() {
		SignedFor(r)
	}
}
