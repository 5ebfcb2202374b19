package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// MaxSkew is how far a client's clock may be from the server's.
const MaxSkew = 5 * time.Minute

// Keys finds the key of an access key id. [auth.Keys] does.
type Keys interface {
	// Lookup is safe for concurrent use. A key it returned never changes.
	Lookup(id string) (*auth.Key, bool)
}

// Verifier checks the signatures of requests to one service. Its fields stay
// as they are once it is in use; its methods are safe for concurrent use.
type Verifier struct {
	Keys    Keys
	Service string // that requests must be signed for: "bedrock-agentcore" for both of AgentCore's planes, "s3", "sts", "iam"
	Region  string // that requests must be signed for; empty means any

	// S3 takes paths as S3 does, encoded once, presigned requests whose body is not
	// signed, and bodies of STREAMING-*, whose chunks it does not check.
	S3 bool

	// AllowUnsigned takes bodies that are not signed also where the request did
	// not come over TLS. A presigned request without a body needs none.
	AllowUnsigned bool

	signing signingKeys
}

var emptySum = sha256.Sum256(nil)

// Begin reads the signature of a request and checks all of it that does not
// need the body, which it leaves alone. It must see the request as it came in, before
// a router rewrites the path. Errors are [isolde.Error]: CodeNoCredentials,
// CodeMalformed, CodeUnknownKey, and CodeSignature for what is signed wrongly,
// for another region or service, or at another time.
func (v *Verifier) Begin(r *http.Request) (*Pending, error) {
	c, err := readClaim(r)
	if err != nil {
		return nil, err
	}
	if err := v.checkScope(&c); err != nil {
		return nil, err
	}
	if err := checkTime(&c, time.Now()); err != nil {
		return nil, err
	}
	key, ok := v.Keys.Lookup(c.keyID)
	if !ok {
		return nil, isolde.Errorf(isolde.CodeUnknownKey, "access key %s is not known to this server", shorten(c.keyID)).
			WithHint("check AWS_ACCESS_KEY_ID, or have the operator add the key")
	}
	if key.SessionToken != "" && subtle.ConstantTimeCompare([]byte(key.SessionToken), []byte(c.token)) != 1 {
		return nil, isolde.Errorf(isolde.CodeUnknownKey, "access key %s needs its security token", key.ID).
			WithHint("check AWS_SESSION_TOKEN")
	}
	p := &Pending{key: key, credential: c.credential, stamp: c.stamp, signed: c.signed, signature: c.signature, signing: v.signing.get(c.scope, key)}
	if err := v.setPayload(p, &c, r); err != nil {
		return nil, err
	}
	if err := p.checkUnsigned(&c, r); err != nil {
		return nil, err
	}
	return p, v.start(p, &c, r)
}

// ofAgentCore begins the headers that say whose session a request is of and
// what the agent hears beside the body.
const ofAgentCore = "X-Amzn-Bedrock-Agentcore-"

// checkUnsigned refuses such a header that a presigned request got later:
// who is handed a URL may do what it says and nothing else. The sender of
// any other request has the key, and may add what it likes after signing.
func (p *Pending) checkUnsigned(c *claim, r *http.Request) error {
	if !c.presigned {
		return nil
	}
	for name := range r.Header {
		if strings.HasPrefix(name, ofAgentCore) && !p.Signed(strings.ToLower(name)) {
			return isolde.Errorf(isolde.CodeSignature, "the presigned request has the header %s, which is not signed", shorten(name)).
				WithHint("sign it with the URL, or have it in the URL's query before that is signed")
		}
	}
	return nil
}

func (v *Verifier) checkScope(c *claim) error {
	if c.service != v.Service {
		return isolde.Errorf(isolde.CodeSignature, "the request is signed for service %q, not for %q", shorten(c.service), v.Service)
	}
	if v.Region != "" && c.region != v.Region {
		return isolde.Errorf(isolde.CodeSignature, "the request is signed for region %q; this server is %s", shorten(c.region), v.Region).
			WithHint("set AWS_REGION=%s", v.Region)
	}
	return nil
}

func checkTime(c *claim, now time.Time) error {
	age := now.Sub(c.time)
	wrong := func(what string) error {
		return isolde.Errorf(isolde.CodeSignature, "the request %s: it was signed at %s and the server's clock says %s",
			what, c.stamp, now.UTC().Format(stampLayout))
	}
	switch {
	case age < -MaxSkew:
		return wrong("is of the future")
	case c.presigned && age > c.expires:
		return wrong("was good for " + c.expires.String() + " and is no more")
	case !c.presigned && age > MaxSkew:
		return wrong("is too old")
	}
	return nil
}

// setPayload finds out what is known of the body before it is read.
func (v *Verifier) setPayload(p *Pending, c *claim, r *http.Request) error {
	bodyless := r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0
	p.payload = c.payload
	switch {
	case c.payload == "" && v.S3 && c.presigned:
		p.payload = unsignedPayload
		fallthrough
	case c.payload == unsignedPayload, v.S3 && strings.HasPrefix(c.payload, "STREAMING-"):
		if !bodyless && !v.AllowUnsigned && r.TLS == nil {
			return isolde.Errorf(isolde.CodeSignature, "the body is not signed (%s), which is fine over TLS only", shorten(p.payload)).
				WithHint("have the client sign the payload, or use https")
		}
		p.unsigned = true
	case c.payload == "" && bodyless:
		p.payload = hex.EncodeToString(emptySum[:])
		p.declare(emptySum)
	case c.payload == "":
		p.needsBody = true
	default:
		var sum [sha256.Size]byte
		if n, err := hex.Decode(sum[:], []byte(c.payload[:min(len(c.payload), 64)])); err != nil || n != len(sum) || len(c.payload) != 64 {
			return malformed("X-Amz-Content-Sha256 %q is neither a SHA-256 in hexadecimal nor %s", shorten(c.payload), unsignedPayload)
		}
		p.declare(sum)
	}
	return nil
}

const unsignedPayload = "UNSIGNED-PAYLOAD"

var canonicals = sync.Pool{New: func() any { return &canonical{buf: make([]byte, 0, 2<<10)} }}

// start hashes the canonical request up to the payload, and compares the
// signature if the payload's hash is known.
func (v *Verifier) start(p *Pending, c *claim, r *http.Request) error {
	request := canonicals.Get().(*canonical)
	defer canonicals.Put(request)
	if err := request.write(r, c.signed, c.presigned, v.S3); err != nil {
		return err
	}
	if p.needsBody {
		p.canonical = append(make([]byte, 0, len(request.buf)+hex.EncodedLen(sha256.Size)), request.buf...)
		return nil
	}
	request.buf = append(request.buf, p.payload...)
	return p.compare(request.buf)
}
