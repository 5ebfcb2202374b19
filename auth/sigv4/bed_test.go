package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

const (
	keyID   = "AKIDEXAMPLE"
	secret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	service = "bedrock-agentcore"
	region  = "us-east-1"
	address = "http://127.0.0.1:4765/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A123456789012%3Aruntime%2Fname-0123456789/invocations?qualifier=DEFAULT"
)

func verifier(t testing.TB) *Verifier {
	t.Helper()
	keys, err := auth.NewKeys(&auth.Key{ID: keyID, Secret: secret, Name: "test", Rights: auth.AllRights})
	if err != nil {
		t.Fatal(err)
	}
	return &Verifier{Keys: keys, Service: service, Region: region}
}

// signing is how a test request is signed by the AWS SDK's signer.
type signing struct {
	at              time.Time // now if zero
	secret, service string
	region, token   string
	payload         string // the hash in the signature; that of the body if empty
	header          bool   // send the hash, too
	presign         time.Duration
	s3              bool
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

// sign makes a request and signs it, and returns it as a server reads it.
func sign(t fataler, method, address, body string, header http.Header, s signing) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	if s.at.IsZero() {
		s.at = time.Now()
	}
	if s.payload == "" {
		sum := sha256.Sum256([]byte(body))
		s.payload = hex.EncodeToString(sum[:])
	}
	if s.header {
		r.Header.Set("X-Amz-Content-Sha256", s.payload)
	}
	if s.secret == "" {
		s.secret = secret
	}
	if s.service == "" {
		s.service = service
	}
	if s.region == "" {
		s.region = region
	}
	credentials := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: s.secret, SessionToken: s.token}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s.s3 })
	if s.presign != 0 {
		q := r.URL.Query()
		q.Set("X-Amz-Expires", strconv.Itoa(int(s.presign.Seconds())))
		r.URL.RawQuery = q.Encode()
		uri, signed, err := signer.PresignHTTP(context.Background(), credentials, r, s.payload, s.service, s.region, s.at)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(uri); err != nil {
			t.Fatal(err)
		}
		for name, values := range signed {
			if name != "Host" && name != "Content-Length" {
				r.Header[name] = values
			}
		}
	} else if err := signer.SignHTTP(context.Background(), credentials, r, s.payload, s.service, s.region, s.at); err != nil {
		t.Fatal(err)
	}
	return served(t, r)
}

// served is the request as it comes out of a server's parser.
func served(t fataler, r *http.Request) *http.Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// verify does what a server does, and returns the name of who called.
func verify(v *Verifier, r *http.Request) (string, error) {
	p, err := v.Begin(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	id, err := p.Finish(sha256.Sum256(body))
	return id.Name, err
}

// refused checks that a request is refused with the code, and that the error
// says each of the texts.
func refused(t testing.TB, v *Verifier, r *http.Request, code isolde.Code, says ...string) {
	t.Helper()
	_, err := verify(v, r)
	if err == nil {
		t.Fatalf("the request was accepted; want %s", code)
	}
	if got := isolde.CodeOf(err); got != code {
		t.Errorf("code %s, want %s: %v", got, code, err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	for _, s := range []string{secret, secret[:12]} {
		if strings.Contains(err.Error(), s) {
			t.Errorf("error %q shows a secret", err)
		}
	}
}
