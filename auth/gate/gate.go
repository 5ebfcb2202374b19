// Package gate asks callers for a key of the server: it checks the signature
// of a request, or its user name and password where those are taken, that the key has the
// right, and that the body is the one that was signed.
//
// What can be refused is refused before the body is read. A body that was
// signed reaches a handler when its hash was compared: all of it is held
// back until then in a [spool.Spool], or, where a handler may see the beginning of
// what it will never see the end of, the last part (see [Need.Streams]).
package gate

import (
	"crypto/sha256"
	"io"
	"net/http"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/sigv4"
	"github.com/isolde-run/isolde/auth/spool"
)

// Gate lets callers of one service through. Its fields stay as they are once
// it is in use; its methods are safe for concurrent use.
type Gate struct {
	Verifier *sigv4.Verifier
	Spool    *spool.Spool // of bodies that are held back as a whole
	Shares   *Shares      // of the spool; nil: callers who are not known yet may fill it
	// Password takes a key's id and secret as user name and password as well
	// (HTTP Basic), for browsers and curl: over TLS, and from this machine.
	Password bool
}

// Need is what a request needs.
type Need struct {
	Right   auth.Right // empty: a key, with any rights
	Also    auth.Right // a second one; empty: none
	Runtime string     // the name of the agent runtime it is for; empty: none in particular
	// Signed is a header, in lower case, that must be covered by the signature;
	// empty: none but those that make the signature.
	Signed string
	Limit  int64 // bytes of a body that is held back
	// Streams passes a body of which the hash was told on as it comes, but for
	// its end, which follows when the hash was compared. It is for handlers that
	// store just the bytes that were announced and nothing before they have all of
	// them: one that is content with the beginning would act on a forgery.
	Streams bool
}

// Admitted is a request whose caller is proven. It must be closed.
type Admitted struct {
	Identity auth.Identity
	body     io.ReadCloser
	length   int64
	spooled  *spool.Body // the same as body; nil if it is the request's own
}

// Request is r with the body that may be served, and with the caller in its
// context; for bound see [auth.NewContext].
func (a *Admitted) Request(r *http.Request, bound bool) *http.Request {
	r = r.WithContext(auth.NewContext(r.Context(), a.Identity, bound))
	r.Body, r.ContentLength = a.body, a.length
	return r
}

// Close lets go of what was held back, also while it is still read. What is
// the request's own stays the HTTP server's.
func (a *Admitted) Close() {
	if a.spooled != nil {
		a.spooled.Close()
	}
}

var emptySum = sha256.Sum256(nil)

// Admit finds out who sends a request and whether they may. Errors are
// [isolde.Error]: those of [sigv4.Verifier.Begin] and [sigv4.Pending.Finish], CodeDenied for
// want of a right, CodeInvalid and CodeThrottled of [spool.Spool.Read], CodeUnauthorized
// for a wrong password, CodeMalformed for a body that breaks off.
func (g *Gate) Admit(w http.ResponseWriter, r *http.Request, n Need) (*Admitted, error) {
	if g.Password && hasPassword(r) {
		identity, err := g.byPassword(r)
		if err == nil {
			err = n.check(identity)
		}
		if err != nil {
			return nil, err
		}
		return &Admitted{Identity: identity, body: r.Body, length: r.ContentLength}, nil
	}
	p, err := g.Verifier.Begin(r)
	if err != nil {
		return nil, err
	}
	if err := n.checkPending(p, r); err != nil {
		return nil, err
	}
	_, declared := p.BodySHA256()
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		identity, err := p.Finish(emptySum)
		if err != nil {
			return nil, err
		}
		return &Admitted{Identity: identity, body: http.NoBody}, nil
	case !declared && !p.NeedsBody(): // it is not signed, and the verifier allows that
		return &Admitted{Identity: p.Identity(), body: r.Body, length: r.ContentLength}, nil
	case declared && n.Streams:
		body := &withheld{r: r.Body, pending: p, hash: sha256.New()}
		return &Admitted{Identity: p.Identity(), body: body, length: r.ContentLength}, nil
	}
	body, err := g.receive(w, r, p, n.Limit)
	if err != nil {
		return nil, err
	}
	identity, err := p.Finish(body.SHA256())
	if err != nil {
		body.Close()
		return nil, err
	}
	return &Admitted{Identity: identity, body: body, length: body.Len(), spooled: body}, nil
}

// check is nil if the identity has the rights.
func (n *Need) check(i auth.Identity) error {
	for _, right := range []auth.Right{n.Right, n.Also} {
		if right == "" {
			continue
		}
		if err := i.May(right, n.Runtime); err != nil {
			return err
		}
	}
	return nil
}

// checkPending is check for a caller who may not be proven yet, and who is
// then told nothing about the key but that it does not do.
func (n *Need) checkPending(p *sigv4.Pending, r *http.Request) error {
	if n.Signed != "" && !p.Signed(n.Signed) {
		return isolde.Errorf(isolde.CodeSignature, "the header %s is not signed", n.Signed).
			WithHint("have the client sign it with the others; AWS SDKs do")
	}
	err := n.check(p.Identity())
	if err == nil || !p.NeedsBody() {
		return err
	}
	what := string(n.Right)
	if n.Also != "" {
		what += " and " + string(n.Also)
	}
	if n.Runtime != "" {
		what += " for agent runtime " + n.Runtime
	}
	return isolde.Errorf(isolde.CodeDenied, "access key %s lacks the right for this: %s", p.Identity().KeyID, what).
		WithHint("use another key, or have the operator give this one more")
}
