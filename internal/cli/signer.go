package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signer signs requests as the AWS SDKs do, with the key of AWS_ACCESS_KEY_ID
// and AWS_SECRET_ACCESS_KEY where they are set. A server that asks nobody
// for credentials takes no notice.
type signer struct {
	*http.Transport
	getenv func(string) string
	signer *v4.Signer
}

// RoundTrip implements http.RoundTripper. A request that has credentials
// keeps them.
func (s *signer) RoundTrip(req *http.Request) (*http.Response, error) {
	key := aws.Credentials{
		AccessKeyID: s.getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: s.getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: s.getenv("AWS_SESSION_TOKEN"),
	}
	if !key.HasKeys() || req.Header.Get("Authorization") != "" {
		return s.Transport.RoundTrip(req)
	}
	signed, err := s.sign(req, key)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return s.Transport.RoundTrip(signed) // which closes the body
}

// sign makes the signed request. A body that can be read once is kept in a
// file, as its hash is to be sent before it.
func (s *signer) sign(req *http.Request, key aws.Credentials) (*http.Request, error) {
	signed := req.Clone(req.Context())
	hash := sha256.New()
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case req.GetBody != nil:
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(hash, body); err != nil {
			return nil, err
		}
	default:
		file, size, err := keep(io.TeeReader(req.Body, hash))
		if err != nil {
			return nil, fmt.Errorf("keep the request for its signature: %w", err)
		}
		req.Body.Close()
		signed.Body, signed.ContentLength = file, size
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	signed.Header.Set("X-Amz-Content-Sha256", sum)
	region := cmp.Or(s.getenv("AWS_REGION"), s.getenv("AWS_DEFAULT_REGION"), defaultRegion)
	if err := s.signer.SignHTTP(req.Context(), key, signed, sum, "bedrock-agentcore", region, time.Now()); err != nil {
		if signed.Body != nil {
			signed.Body.Close()
		}
		return nil, fmt.Errorf("sign the request: %w", err)
	}
	return signed, nil
}

// keep reads to the end, into a file that has no name any more.
func keep(r io.Reader) (_ *os.File, size int64, err error) {
	f, err := os.CreateTemp("", "isolde-upload-")
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, err
	}
	if size, err = io.Copy(f, r); err != nil {
		return nil, 0, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, size, err
}
