package jwt

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

func TestVerify(t *testing.T) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA} {
		t.Run(string(algorithm), func(t *testing.T) {
			p, v := newIDP(t), newVerifier(t)
			p.rotate(t, algorithm)
			for range 2 { // the second time it is remembered
				id, err := v.Verify(t.Context(), p.authorizer(), p.token(t, nil))
				if err != nil {
					t.Fatal(err)
				}
				if id.Kind != auth.KindJWT || id.Subject != "user-1" || id.Client != "client-1" || id.Claims["tenant"] != "acme" ||
					id.String() != "jwt:"+p.URL+"#user-1" {
					t.Errorf("%+v, %s", id, id)
				}
				if err := id.May(auth.Invoke, "any"); err != nil {
					t.Error(err)
				}
				if err := id.May(auth.Control, "any"); isolde.CodeOf(err) != isolde.CodeDenied {
					t.Errorf("control: %v", err)
				}
			}
		})
	}
}

func TestDiscoveryForms(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	p.set(func() {
		p.extra = []any{map[string]any{"kty": "unheard-of"}, map[string]any{"kty": "oct", "k": "AAAA"}, 7}
	})
	for _, path := range []string{openID, oauth, oauth + "/tenant"} {
		a := p.authorizer()
		a.DiscoveryURL = p.URL + path
		if _, err := v.Verify(t.Context(), a, p.token(t, nil)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestRefusesTokens(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	now := time.Now()
	good := p.token(t, nil)
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	public, err := x509.MarshalPKIXPublicKey(p.keys[0].Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	hmacWith := func(secret []byte) string {
		return signed(t, jose.JSONWebKey{Key: secret, KeyID: p.keys[0].KeyID, Algorithm: "HS256"}, p.claims(nil))
	}
	changed, err := json.Marshal(p.claims(map[string]any{"sub": "root"}))
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t, jose.ES256)
	forged := other
	forged.KeyID = p.keys[0].KeyID
	for name, c := range map[string]struct{ token, says string }{
		"nothing":            {"", "not a JWT"},
		"no JWT":             {"abc", "not a JWT"},
		"not signed":         {encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", "not a JWT"},
		"signed with a text": {hmacWith(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), "public key"},
		"tampered":           {parts[0] + "." + encode(changed) + "." + parts[2], "signature"},
		"cut":                {parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-8], "signature"},
		"another key":        {signed(t, other, p.claims(nil)), other.KeyID},
		"forged key id":      {signed(t, forged, p.claims(nil)), forged.KeyID},
		"expired":            {p.token(t, map[string]any{"exp": now.Add(-leeway - time.Minute).Unix()}), "expired at"},
		"no expiry":          {p.token(t, map[string]any{"exp": nil}), "expires"},
		"not yet":            {p.token(t, map[string]any{"nbf": now.Add(leeway + time.Minute).Unix()}), "good from"},
		"of the future":      {p.token(t, map[string]any{"iat": now.Add(leeway + time.Minute).Unix()}), "in the future"},
		"another issuer":     {p.token(t, map[string]any{"iss": "https://evil.example"}), "evil.example"},
		"no issuer":          {p.token(t, map[string]any{"iss": nil}), "issuer"},
		"nobody":             {p.token(t, map[string]any{"sub": nil, "client_id": nil}), "sub"},
		"long subject":       {p.token(t, map[string]any{"sub": strings.Repeat("s", maxName+1)}), "1024"},
		"another audience":   {p.token(t, map[string]any{"aud": "others"}), "others"},
		"no audience":        {p.token(t, map[string]any{"aud": nil}), "none"},
		"too long":           {strings.Repeat("x", maxToken+1), "16384"},
	} {
		for range 2 {
			id, err := v.Verify(t.Context(), p.authorizer(), c.token)
			if isolde.CodeOf(err) != isolde.CodeUnauthorized || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, %v; want it to say %q", name, id, err, c.says)
			}
		}
	}
	for name, change := range map[string]map[string]any{
		"within the leeway": {"exp": now.Add(-leeway / 2).Unix(), "nbf": now.Add(leeway / 2).Unix(), "iat": now.Add(leeway / 2).Unix()},
		"one audience":      {"aud": "agents"},
		"a client alone":    {"sub": nil},
	} {
		if _, err := v.Verify(t.Context(), p.authorizer(), p.token(t, change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthorizes(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	rule := func(name, kind, operator string, values ...string) isolde.ClaimRule {
		r := isolde.ClaimRule{Name: name, Type: kind, Match: isolde.ClaimMatch{Operator: operator}}
		if operator == "CONTAINS_ANY" {
			r.Match.Value.Strings = values
		} else {
			r.Match.Value.String = &values[0]
		}
		return r
	}
	for name, c := range map[string]struct {
		set    func(a *isolde.JWTAuthorizer)
		change map[string]any
		ok     bool
	}{
		"client":          {func(a *isolde.JWTAuthorizer) { a.AllowedClients = []string{"x", "client-1"} }, nil, true},
		"client of azp":   {func(a *isolde.JWTAuthorizer) { a.AllowedClients = []string{"c"} }, map[string]any{"azp": "c"}, true},
		"another client":  {func(a *isolde.JWTAuthorizer) { a.AllowedClients = []string{"x"} }, nil, false},
		"no client":       {func(a *isolde.JWTAuthorizer) { a.AllowedClients = []string{""} }, map[string]any{"client_id": nil}, false},
		"scope":           {func(a *isolde.JWTAuthorizer) { a.AllowedScopes = []string{"x", "invoke"} }, nil, true},
		"scope of a list": {func(a *isolde.JWTAuthorizer) { a.AllowedScopes = []string{"s"} }, map[string]any{"scp": []string{"r", "s"}}, true},
		"part of a scope": {func(a *isolde.JWTAuthorizer) { a.AllowedScopes = []string{"inv"} }, nil, false},
		"no scope":        {func(a *isolde.JWTAuthorizer) { a.AllowedScopes = []string{"x"} }, map[string]any{"scope": nil}, false},
		"string": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("tenant", "STRING", "EQUALS", "acme")}
		}, nil, true},
		"another string": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("tenant", "STRING", "EQUALS", "acm")}
		}, nil, false},
		"a list as string": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("groups", "STRING", "EQUALS", "dev")}
		}, nil, false},
		"contains": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("groups", "STRING_ARRAY", "CONTAINS", "ops")}
		}, nil, true},
		"does not contain": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("groups", "STRING_ARRAY", "CONTAINS", "op")}
		}, nil, false},
		"a string as list": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("tenant", "STRING_ARRAY", "CONTAINS", "acme")}
		}, nil, false},
		"contains any": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("groups", "STRING_ARRAY", "CONTAINS_ANY", "x", "dev")}
		}, nil, true},
		"contains none": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("groups", "STRING_ARRAY", "CONTAINS_ANY", "x", "y")}
		}, nil, false},
		"not only strings": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("groups", "STRING_ARRAY", "CONTAINS", "dev")}
		}, map[string]any{"groups": []any{"dev", 1}}, false},
		"missing": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("none", "STRING", "EQUALS", "")}
		}, nil, false},
		"an unknown operator": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("tenant", "STRING", "CONTAINS", "acme")}
		}, nil, false},
		"two rules, one holds": {func(a *isolde.JWTAuthorizer) {
			a.CustomClaims = []isolde.ClaimRule{rule("tenant", "STRING", "EQUALS", "acme"), rule("tenant", "STRING", "EQUALS", "x")}
		}, nil, false},
	} {
		a := p.authorizer()
		c.set(a)
		_, err := v.Verify(t.Context(), a, p.token(t, c.change))
		if c.ok != (err == nil) || err != nil && isolde.CodeOf(err) != isolde.CodeDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRotation(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	old := p.token(t, nil)
	if _, err := v.Verify(t.Context(), p.authorizer(), old); err != nil {
		t.Fatal(err)
	}
	p.rotate(t, jose.ES256)
	fresh := p.token(t, nil)
	if _, err := v.Verify(t.Context(), p.authorizer(), fresh); isolde.CodeOf(err) != isolde.CodeUnauthorized || p.fetched() != 1 {
		t.Errorf("unknown keys must not make the server fetch at once: %v, %d fetches", err, p.fetched())
	}
	v.refetchAfter = 0
	if _, err := v.Verify(t.Context(), p.authorizer(), fresh); err != nil || p.fetched() != 2 {
		t.Errorf("the new key: %v, %d fetches", err, p.fetched())
	}
	if _, err := v.Verify(t.Context(), p.authorizer(), old); isolde.CodeOf(err) != isolde.CodeUnauthorized {
		t.Errorf("the old key, which was withdrawn: %v", err)
	}
}

// TestFloodOfUnknownKeys: tokens that anyone can make cost the provider one
// fetch in ten seconds.
func TestFloodOfUnknownKeys(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	var all sync.WaitGroup
	for range 20 {
		token := signed(t, newKey(t, jose.ES256), p.claims(nil))
		all.Go(func() {
			if _, err := v.Verify(t.Context(), p.authorizer(), token); isolde.CodeOf(err) != isolde.CodeUnauthorized {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if p.fetched() != 1 {
		t.Errorf("%d fetches", p.fetched())
	}
}

func TestProviderDown(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	p.set(func() { p.down = true })
	_, err := v.Verify(t.Context(), p.authorizer(), p.token(t, nil))
	if isolde.CodeOf(err) != isolde.CodeUnavailable || strings.Contains(err.Error(), p.URL) {
		t.Errorf("down from the beginning: %v", err)
	}
	p.set(func() { p.down = false })
	provider := v.provider(p.URL + openID)
	provider.tried = time.Now().Add(-retryAfter)
	if _, err := v.Verify(t.Context(), p.authorizer(), p.token(t, nil)); err != nil {
		t.Errorf("up again: %v", err)
	}

	p.set(func() { p.down = true })
	provider.tried = time.Now().Add(-freshFor)
	provider.state.Load().fetched = time.Now().Add(-freshFor - time.Second)
	for range 3 {
		if _, err := v.Verify(t.Context(), p.authorizer(), p.token(t, nil)); err != nil {
			t.Errorf("down again: %v", err)
		}
	}
	v.behind.Wait()
	provider.tried = time.Now().Add(-freshFor)
	provider.state.Load().fetched = time.Now().Add(-staleFor - time.Second)
	if _, err := v.Verify(t.Context(), p.authorizer(), p.token(t, nil)); isolde.CodeOf(err) != isolde.CodeUnavailable {
		t.Errorf("down for a day: %v", err)
	}
}

// TestRefreshesBehindTheCall: a key that was withdrawn is trusted until the
// next refresh and no longer, also by tokens that were checked before.
func TestRefreshesBehindTheCall(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	v.refetchAfter = 0
	old := p.token(t, nil)
	if _, err := v.Verify(t.Context(), p.authorizer(), old); err != nil {
		t.Fatal(err)
	}
	p.rotate(t, jose.ES256)
	v.provider(p.URL + openID).state.Load().fetched = time.Now().Add(-freshFor - time.Second)
	if _, err := v.Verify(t.Context(), p.authorizer(), old); err != nil {
		t.Error(err)
	}
	v.behind.Wait()
	if _, err := v.Verify(t.Context(), p.authorizer(), old); isolde.CodeOf(err) != isolde.CodeUnauthorized {
		t.Errorf("after the refresh: %v", err)
	}
}

func TestOneFetchForAll(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	token := p.token(t, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := v.Verify(t.Context(), p.authorizer(), token); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() { // clients that go away take nothing from the others
			if _, err := v.Verify(gone, p.authorizer(), token); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if p.fetched() != 1 {
		t.Errorf("%d fetches", p.fetched())
	}
}

func TestBadProviders(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"no issuer":        {"issuer": ""},
		"no keys":          {"jwks_uri": ""},
		"keys over http":   {"jwks_uri": "http://idp.example/keys"},
		"keys of a cloud":  {"jwks_uri": "https://169.254.169.254/latest"},
		"keys of a file":   {"jwks_uri": "file:///etc/passwd"},
		"a large document": {"padding": strings.Repeat("x", maxDocument)},
	} {
		p, v := newIDP(t), newVerifier(t)
		p.set(func() { p.change = change })
		if _, err := v.Verify(t.Context(), p.authorizer(), p.token(t, nil)); isolde.CodeOf(err) != isolde.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoKeysForSignatures: what a set may hold beside keys that sign is not
// used, and alone not enough.
func TestNoKeysForSignatures(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	token := p.token(t, nil)
	p.set(func() {
		private, encryption := p.keys[0], p.keys[0].Public()
		encryption.Use = "enc"
		p.keys, p.extra = nil, []any{private, encryption, map[string]any{"kty": "oct", "k": "AAAA"}}
	})
	if _, err := v.Verify(t.Context(), p.authorizer(), token); isolde.CodeOf(err) != isolde.CodeUnavailable {
		t.Error(err)
	}
}

func TestForgetsProviders(t *testing.T) {
	v := newVerifier(t)
	for i := range maxProviders + 50 {
		v.provider("https://idp.example/" + strings.Repeat("x", i)).used.Store(int64(i))
	}
	if len(v.providers) > maxProviders || v.providers["https://idp.example/"+strings.Repeat("x", maxProviders)] == nil || v.providers["https://idp.example/"] != nil {
		t.Errorf("%d providers", len(v.providers))
	}
}

func TestMetadata(t *testing.T) {
	p, v := newIDP(t), newVerifier(t)
	a := p.authorizer()
	a.AllowedScopes = []string{"invoke", "admin"}
	a.AdvertisedScopeMapping = map[string]string{"invoke": "api://agents/invoke"}
	const arn = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/name-0123456789"
	resource := ResourceURL("https://agents.example.com/", arn, "DEFAULT")
	got, err := v.Metadata(t.Context(), a, resource)
	want := &Metadata{
		Resource:             "https://agents.example.com/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A123456789012%3Aruntime%2Fname-0123456789/invocations?qualifier=DEFAULT",
		AuthorizationServers: []string{p.URL},
		Scopes:               []string{"api://agents/invoke", "admin"},
		Methods:              []string{"header"},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}

func BenchmarkVerify(b *testing.B) {
	p, v := newIDP(b), newVerifier(b)
	token, a := p.token(b, nil), p.authorizer()
	if _, err := v.Verify(b.Context(), a, token); err != nil {
		b.Fatal(err)
	}
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), a, token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("RS256", func(b *testing.B) {
		b.ReportAllocs()
		s := v.provider(a.DiscoveryURL).state.Load()
		for b.Loop() {
			clear(s.tokens)
			if _, err := v.Verify(b.Context(), a, token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
