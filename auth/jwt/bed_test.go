package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	openID = "/.well-known/openid-configuration"
	oauth  = "/.well-known/oauth-authorization-server"
)

// idp is an OpenID Connect provider on loopback.
type idp struct {
	*httptest.Server

	mu      sync.Mutex
	keys    []jose.JSONWebKey // private; published is what is public of them
	fetches int               // of the keys
	down    bool
	extra   []any          // in the key set
	change  map[string]any // in the discovery document
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{}
	p.rotate(t, jose.RS256)
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		http.Error(w, "down", http.StatusBadGateway)
		return
	}
	switch r.URL.Path {
	case openID, oauth, oauth + "/tenant":
		document := map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"}
		maps.Copy(document, p.change)
		json.NewEncoder(w).Encode(document) //nolint:errcheck // the caller is gone then
	case "/keys":
		p.fetches++
		all := p.extra
		for _, k := range p.keys {
			all = append(all, k.Public())
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": all}) //nolint:errcheck // the caller is gone then
	default:
		http.NotFound(w, r)
	}
}

// set changes the provider between requests.
func (p *idp) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *idp) fetched() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// rotate makes the provider publish one new key in place of all.
func (p *idp) rotate(t testing.TB, algorithm jose.SignatureAlgorithm) {
	t.Helper()
	k := newKey(t, algorithm)
	p.set(func() { p.keys = []jose.JSONWebKey{k} })
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey(t testing.TB, algorithm jose.SignatureAlgorithm) jose.JSONWebKey {
	t.Helper()
	var key crypto.Signer
	var err error
	switch algorithm {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsaKey() // one for all tests, as they take long to make
	}
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: rand.Text(), Algorithm: string(algorithm), Use: "sig"}
}

// token signs claims; those given change the ones of a good token, nil removes.
func (p *idp) token(t testing.TB, change map[string]any) string {
	t.Helper()
	return signed(t, p.keys[0], p.claims(change))
}

func (p *idp) claims(change map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{
		"iss": p.URL, "sub": "user-1", "aud": []string{"agents", "other"}, "client_id": "client-1", "scope": "read invoke",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "groups": []string{"dev", "ops"}, "tenant": "acme",
	}
	for k, v := range change {
		all[k] = v
		if v == nil {
			delete(all, k)
		}
	}
	return all
}

func signed(t testing.TB, key jose.JSONWebKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := josejwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newVerifier(t testing.TB) *Verifier {
	t.Helper()
	v := NewVerifier(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { v.Close() })
	return v
}

// authorizer is one that takes what idp.token makes.
func (p *idp) authorizer() *isolde.JWTAuthorizer {
	return &isolde.JWTAuthorizer{DiscoveryURL: p.URL + openID, AllowedAudience: []string{"agents"}}
}
