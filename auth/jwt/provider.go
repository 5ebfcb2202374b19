package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/isolde-run/isolde"
)

// How long what a provider said counts.
const (
	// freshFor is when the next call has it fetched anew, without waiting.
	// A key that the provider withdrew is trusted so long.
	freshFor = 15 * time.Minute
	// staleFor is when it counts no more, after the provider could not be reached so long.
	staleFor = 24 * time.Hour
	// refetchAfter is the least time between two fetches that tokens with an
	// unknown key ask for: anyone can make such tokens.
	refetchAfter = 10 * time.Second
	// retryAfter is the least time between a fetch that failed and the next.
	retryAfter = 2 * time.Second
)

// provider is an OpenID Connect provider or OAuth authorization server, known
// by the URL of its discovery document.
type provider struct {
	v    *Verifier
	url  string
	used atomic.Int64 // Unix time

	state atomic.Pointer[state] // nil until it was fetched once

	fetching chan struct{} // holds one while someone fetches, who alone uses the fields below
	tried    time.Time
	failed   error // how the last fetch went
}

// state is what a provider said at one time. It is not changed but for the tokens.
type state struct {
	issuer  string
	keys    []jose.JSONWebKey
	fetched time.Time

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]*claims // whose signature was checked with these keys
}

// maxTokens is how many checked tokens a state remembers.
const maxTokens = 10_000

func (s *state) remembered(sum [sha256.Size]byte) *claims {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tokens[sum]
}

func (s *state) remember(sum [sha256.Size]byte, c *claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil || len(s.tokens) >= maxTokens {
		s.tokens = make(map[[sha256.Size]byte]*claims)
	}
	s.tokens[sum] = c
}

// matching are the keys that a token may be signed with.
func (s *state) matching(kid, algorithm string) []jose.JSONWebKey {
	var all []jose.JSONWebKey
	for _, k := range s.keys {
		if (kid == "" || k.KeyID == kid) && (k.Algorithm == "" || k.Algorithm == algorithm) {
			all = append(all, k)
		}
	}
	return all
}

// current is what the provider says. The first call waits for it.
func (p *provider) current(ctx context.Context) (*state, error) {
	p.used.Store(time.Now().Unix())
	s := p.state.Load()
	if s == nil || time.Since(s.fetched) > staleFor {
		return p.newer(ctx, s, 0)
	}
	if time.Since(s.fetched) > freshFor {
		p.refreshBehind(s)
	}
	return s, nil
}

// newer is what the provider says since a state that is not enough, unless
// it was asked less than after ago; then it is the same state.
func (p *provider) newer(ctx context.Context, than *state, after time.Duration) (*state, error) {
	select {
	case p.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.fetching }()
	if s := p.state.Load(); s != than { // whoever was before us did it
		return s, nil
	}
	if p.failed != nil {
		after = max(after, retryAfter)
	}
	if time.Since(p.tried) >= after {
		p.refresh(context.WithoutCancel(ctx)) // others wait for it as well
	}
	s := p.state.Load()
	if s == nil || time.Since(s.fetched) > staleFor {
		return nil, isolde.Errorf(isolde.CodeUnavailable, "the identity provider of this agent runtime cannot be reached").
			WithHint("the server's log has the cause").WithCause(p.failed)
	}
	return s, nil
}

// refreshBehind fetches on a goroutine, unless someone does already.
func (p *provider) refreshBehind(than *state) {
	select {
	case p.fetching <- struct{}{}:
	default:
		return
	}
	if p.state.Load() != than || time.Since(p.tried) < p.v.refetchAfter || p.v.ctx.Err() != nil {
		<-p.fetching
		return
	}
	p.v.behind.Go(func() {
		defer func() { <-p.fetching }()
		p.refresh(p.v.ctx)
	})
}

// refresh fetches. The caller holds fetching.
func (p *provider) refresh(ctx context.Context) {
	s, err := p.fetch(ctx)
	p.tried, p.failed = time.Now(), err
	if err != nil {
		p.v.log.Warn("identity provider not reached", "url", p.url, "err", err)
		return
	}
	p.state.Store(s)
}

// fetch gets the discovery document and the keys that it points to.
func (p *provider) fetch(ctx context.Context) (*state, error) {
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := fetch(ctx, p.v.client, p.url, &document); err != nil {
		return nil, fmt.Errorf("discovery document: %w", err)
	}
	if u, err := url.Parse(document.Issuer); err != nil || u.Host == "" || document.Keys == "" {
		return nil, fmt.Errorf("discovery document %s has issuer %q and jwks_uri %q", p.url, document.Issuer, document.Keys)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := fetch(ctx, p.v.client, document.Keys, &set); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	s := &state{issuer: document.Issuer, fetched: time.Now()}
	for _, text := range set.Keys {
		var k jose.JSONWebKey
		// A set may hold keys of kinds that we do not know, for other uses.
		if json.Unmarshal(text, &k) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			s.keys = append(s.keys, k)
		}
	}
	if len(s.keys) == 0 {
		return nil, errors.New("keys: " + document.Keys + " has none for signatures")
	}
	return s, nil
}
