package gate

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

func hasPassword(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}

// Private says whether what a request carries in clear text stays between the
// caller and the server: it came over TLS, or from this machine.
func Private(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// byPassword takes the access key id for the user's name and the secret for
// the password. A key with a session token has no such form.
func (g *Gate) byPassword(r *http.Request) (auth.Identity, error) {
	if !Private(r) {
		return auth.Identity{}, isolde.Errorf(isolde.CodeDenied, "a password is taken over TLS or from the server's machine only").
			WithHint("use https, or sign the request (SigV4); and take the secret that was just sent in clear text for known to others")
	}
	id, password, ok := r.BasicAuth()
	if !ok {
		return auth.Identity{}, isolde.Errorf(isolde.CodeMalformed, "the Authorization header cannot be parsed")
	}
	key, known := g.Verifier.Keys.Lookup(id)
	if !known {
		key = &auth.Key{} // to compare all the same, in the same time
	}
	given, want := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(key.Secret))
	if same := subtle.ConstantTimeCompare(given[:], want[:]) == 1; !same || !known || key.SessionToken != "" {
		return auth.Identity{}, isolde.Errorf(isolde.CodeUnauthorized, "user name and password are not those of a key").
			WithHint("they are the access key id and the secret access key")
	}
	return key.Identity(), nil
}
