package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// Pending is a signed request whose body was not seen yet. It is for one
// goroutine at a time.
type Pending struct {
	key        *auth.Key
	credential string
	stamp      string
	signed     string // names of the signed headers, as in claim
	signature  [sha256.Size]byte
	signing    *signingKey

	payload   string            // the last line of the canonical request, where it is known
	sum       [sha256.Size]byte // what the body must hash to, where declared
	declared  bool
	unsigned  bool
	needsBody bool
	canonical []byte // the canonical request but for the last line, while needsBody
}

func (p *Pending) declare(sum [sha256.Size]byte) { p.sum, p.declared = sum, true }

// NeedsBody says that the signature could not be checked yet: it covers the
// hash of the body, which the request does not tell. Until [Pending.Finish] the
// caller may be anyone.
func (p *Pending) NeedsBody() bool { return p.needsBody }

// BodySHA256 is what the body must hash to, where that is signed and told by
// the request, or the body is empty.
func (p *Pending) BodySHA256() (sum [sha256.Size]byte, ok bool) { return p.sum, p.declared }

// Signed says whether the signature covers a header, whose name is in lower
// case. What it does not cover anyone may have added on the way.
func (p *Pending) Signed(header string) bool {
	for name := range strings.SplitSeq(p.signed, ";") {
		if name == header {
			return true
		}
	}
	return false
}

// Identity is who the request says it comes from. That is proven unless
// [Pending.NeedsBody]; then it serves to refuse early, such as
// for want of a right, and for nothing else.
func (p *Pending) Identity() auth.Identity { return p.key.Identity() }

// Finish takes the hash of the body that came and returns the identity, now
// proven together with the body. It fails with an [isolde.Error] with CodeSignature when
// the signature or the body is another. Where the body is not signed the hash is not looked at.
func (p *Pending) Finish(body [sha256.Size]byte) (auth.Identity, error) {
	switch {
	case p.needsBody:
		request := hex.AppendEncode(p.canonical, body[:])
		if err := p.compare(request); err != nil {
			return auth.Identity{}, err
		}
	case p.declared && subtle.ConstantTimeCompare(p.sum[:], body[:]) != 1:
		return auth.Identity{}, isolde.Errorf(isolde.CodeSignature, "the body has the SHA-256 %x; signed is %x", body, p.sum)
	}
	return p.key.Identity(), nil
}

// compare makes the signature of a canonical request and compares it, in
// constant time, with the one that was sent. It writes over the request.
func (p *Pending) compare(request []byte) error {
	sum := sha256.Sum256(request)
	text := append(request[:0], algorithm+"\n"...)
	text = append(text, p.stamp...)
	text = append(text, '\n')
	text = append(text, p.credential[len(p.key.ID)+1:]...)
	text = append(text, '\n')
	text = hex.AppendEncode(text, sum[:])
	if p.signing.matches(text, p.signature[:]) {
		return nil
	}
	return isolde.Errorf(isolde.CodeSignature, "the signature with access key %s does not match", p.key.ID).
		WithHint("check the secret key, and that no proxy changes Host, path or signed headers; the server's canonical request has the SHA-256 %x", sum)
}
