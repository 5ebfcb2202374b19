package jwt

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// leeway is how far the provider's clock may be from the server's.
const leeway = 30 * time.Second

// maxProviders is how many providers are remembered.
const maxProviders = 1000

// algorithms are those with a public key. With any other, a token could be
// signed with what everyone may read.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Verifier checks tokens for all agent runtimes of a server. It is safe for
// concurrent use.
type Verifier struct {
	log          *slog.Logger
	client       *http.Client
	refetchAfter time.Duration

	ctx    context.Context // of the fetches that nobody waits for
	cancel context.CancelFunc
	behind sync.WaitGroup

	mu        sync.RWMutex
	providers map[string]*provider // by the URL of the discovery document
}

// NewVerifier makes a Verifier, which fetches nothing before it must. Close it.
func NewVerifier(log *slog.Logger) *Verifier {
	v := &Verifier{log: log, client: newClient(), refetchAfter: refetchAfter, providers: make(map[string]*provider)}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// Close ends what is being fetched behind the calls. It may be called twice;
// the Verifier can still be used but refreshes nothing any more.
func (v *Verifier) Close() error {
	v.cancel()
	v.behind.Wait()
	return nil
}

// Verify checks a token and returns whose it is. Errors are [isolde.Error]:
// CodeUnauthorized for a token that proves nothing, CodeDenied for one that
// proves too little, and CodeUnavailable when the provider's keys are not known
// and cannot be fetched. ctx bounds the wait for those, or the cause of its end is returned.
func (v *Verifier) Verify(ctx context.Context, a *isolde.JWTAuthorizer, token string) (auth.Identity, error) {
	if len(token) > maxToken {
		return auth.Identity{}, invalid("the bearer token has %d bytes; %d are allowed", len(token), maxToken)
	}
	p := v.provider(a.DiscoveryURL)
	s, err := p.current(ctx)
	if err != nil {
		return auth.Identity{}, err
	}
	sum := sha256.Sum256([]byte(token))
	c := s.remembered(sum)
	if c == nil {
		if s, c, err = p.check(ctx, s, token); err != nil {
			return auth.Identity{}, err
		}
		s.remember(sum, c)
	}
	if err := c.checkStandard(s.issuer, time.Now()); err != nil {
		return auth.Identity{}, err
	}
	if err := c.authorize(a); err != nil {
		return auth.Identity{}, err
	}
	return auth.Bearer(c.Issuer, c.Subject, c.client(), c.all), nil
}

// check checks the signature of a token that was not seen before. A key that
// is not among those of s may be a new one.
func (p *provider) check(ctx context.Context, s *state, token string) (*state, *claims, error) {
	parsed, err := josejwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, nil, invalid("the bearer token is not a JWT that is signed with a public key").WithCause(err)
	}
	header := parsed.Headers[0]
	keys := s.matching(header.KeyID, header.Algorithm)
	if len(keys) == 0 {
		if s, err = p.newer(ctx, s, p.v.refetchAfter); err != nil {
			return nil, nil, err
		}
		keys = s.matching(header.KeyID, header.Algorithm)
	}
	if len(keys) == 0 {
		return nil, nil, invalid("the bearer token is signed with the key %q, which its issuer does not list", shorten(header.KeyID))
	}
	for _, key := range keys {
		c := &claims{}
		if err = parsed.Claims(key.Key, &c.Claims, &c.all); err == nil {
			return s, c, nil
		}
	}
	return nil, nil, invalid("the bearer token's signature is not its issuer's").WithCause(err)
}

// provider is the one of a discovery document.
func (v *Verifier) provider(url string) *provider {
	v.mu.RLock()
	p := v.providers[url]
	v.mu.RUnlock()
	if p != nil {
		return p
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p = v.providers[url]; p != nil {
		return p
	}
	if len(v.providers) >= maxProviders {
		v.forget()
	}
	p = &provider{v: v, url: url, fetching: make(chan struct{}, 1)}
	p.used.Store(time.Now().Unix())
	v.providers[url] = p
	return p
}

// forget drops the tenth that was not used for longest. The caller holds mu.
func (v *Verifier) forget() {
	var all []*provider
	for _, p := range v.providers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *provider) int { return int(a.used.Load() - b.used.Load()) })
	for _, p := range all[:len(all)/10+1] {
		delete(v.providers, p.url)
	}
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
