package sigv4

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// BenchmarkVerify is the cost of a call with a small body: all of the work
// between the parsed request and the identity, but hashing the body.
// Its baseline, stock, is what making the signature alone costs with the AWS SDK's signer.
func BenchmarkVerify(b *testing.B) {
	body := `{"prompt":"hello"}`
	sum := sha256.Sum256([]byte(body))
	session := http.Header{"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {strings.Repeat("s", 40)}, "Content-Type": {"application/json"}}
	for _, c := range []struct {
		name string
		s    signing
	}{
		{"payload not told", signing{}},
		{"payload told", signing{header: true}},
		{"presigned", signing{presign: 5 * time.Minute}},
	} {
		b.Run(c.name, func(b *testing.B) {
			v, r := verifier(b), sign(b, "POST", address, body, session, c.s)
			b.ReportAllocs()
			for b.Loop() {
				p, err := v.Begin(r)
				if err == nil {
					_, err = p.Finish(sum)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("stock", func(b *testing.B) {
		r := sign(b, "POST", address, body, session, signing{})
		r.URL.Scheme, r.URL.Host = "http", r.Host
		signer := v4.NewSigner()
		payload := hex.EncodeToString(sum[:])
		credentials := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
		now := time.Now()
		b.ReportAllocs()
		for b.Loop() {
			if err := signer.SignHTTP(context.Background(), credentials, r, payload, service, region, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
