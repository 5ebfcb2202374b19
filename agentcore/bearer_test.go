package agentcore_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/isolde-run/isolde"
)

// provider is an OpenID Connect provider on loopback.
type provider struct {
	*httptest.Server
	signer jose.Signer
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: "one", Algorithm: string(jose.RS256), Use: "sig"}
	p := &provider{}
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller is gone then
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", answer(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys"}))
	mux.HandleFunc("/keys", answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}))
	return p
}

// token is one for the audience that is good for so long.
func (p *provider) token(t *testing.T, audience string, life time.Duration) string {
	t.Helper()
	return p.tokenOf(t, "ada", audience, life)
}

func (p *provider) tokenOf(t *testing.T, subject, audience string, life time.Duration) string {
	t.Helper()
	now := time.Now()
	s, err := josejwt.Signed(p.signer).Claims(josejwt.Claims{
		Issuer: p.URL, Subject: subject, Audience: josejwt.Audience{audience},
		IssuedAt: josejwt.NewNumericDate(now.Add(-time.Hour)), Expiry: josejwt.NewNumericDate(now.Add(life)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRuntimesWithAnAuthorizerAskForItsTokens(t *testing.T) {
	idp := newProvider(t)
	b := newBed(t, nil)
	invocations := b.deploy(t, "guarded", isolde.VersionSpec{Authorizer: &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
		DiscoveryURL: idp.URL + "/.well-known/openid-configuration", AllowedAudience: []string{"agents"},
	}}})
	path := strings.TrimSuffix(invocations, "/invocations")
	good := idp.token(t, "agents", time.Hour)
	for _, test := range []struct {
		name, authorization, user string
		status                    int
		challenge                 string // part of WWW-Authenticate
	}{
		{"none", "", "", 401, "/invocations/.well-known/oauth-protected-resource"},
		{"a signature of AWS's", "AWS4-HMAC-SHA256 Credential=a/20261122/us-west-2/bedrock-agentcore/aws4_request, SignedHeaders=host, Signature=00", "", 401, "resource_metadata="},
		{"no token", "Bearer nonsense", "", 401, `error="invalid_token"`},
		{"for others", "Bearer " + idp.token(t, "others", time.Hour), "", 401, `error="invalid_token"`},
		{"expired", "Bearer " + idp.token(t, "agents", -time.Minute), "", 401, `error="invalid_token"`},
		{"of another provider", "Bearer " + newProvider(t).token(t, "agents", time.Hour), "", 401, `error="invalid_token"`},
		{"good", "Bearer " + good, "", 200, ""},
		{"good, for another user", "Bearer " + good, "bob", 403, ""},
	} {
		header := http.Header{"Content-Type": {"application/json"}}
		if test.authorization != "" {
			header.Set("Authorization", test.authorization)
		}
		if test.user != "" {
			header.Set("X-Amzn-Bedrock-AgentCore-Runtime-User-Id", test.user)
		}
		resp := b.post(t, path+"/invocations", header, strings.NewReader(`{}`))
		if resp.StatusCode != test.status || !strings.Contains(resp.Header.Get("WWW-Authenticate"), test.challenge) {
			t.Errorf("token %s: %s, WWW-Authenticate %q", test.name, resp.Status, resp.Header.Get("WWW-Authenticate"))
		}
	}
	// Every other operation on the runtime asks as well.
	for _, operation := range []string{"POST /stopruntimesession", "POST /commands", "GET /ws", "GET /invocations/.well-known/agent-card.json"} {
		method, end, _ := strings.Cut(operation, " ")
		if a := b.do(t, method, path+end, strings.NewReader(`{}`)); a.status != 401 {
			t.Errorf("%s without a token: %d %s", operation, a.status, a.body)
		}
	}
	a := b.do(t, "GET", path+"/invocations/.well-known/oauth-protected-resource", nil)
	if a.status != 200 || !strings.Contains(string(a.body), idp.URL) {
		t.Errorf("metadata: %d %s", a.status, a.body)
	}
	if a := b.do(t, "GET", "/runtimes/echo/invocations/.well-known/oauth-protected-resource", nil); a.status != 404 {
		t.Errorf("metadata of a runtime without an authorizer: %d %s", a.status, a.body)
	}
}
