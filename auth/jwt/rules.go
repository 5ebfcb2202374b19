package jwt

import (
	"slices"
	"strings"
	"time"

	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/isolde-run/isolde"
)

// claims are what a token says, once its signature was checked. Calls share
// them and change nothing.
type claims struct {
	josejwt.Claims
	all map[string]any
}

// maxName bounds issuer, subject and client, which are kept with sessions.
const maxName = 1024

// checkStandard checks the claims that every token must have.
func (c *claims) checkStandard(issuer string, now time.Time) error {
	at := func(d *josejwt.NumericDate) string { return d.Time().UTC().Format(time.RFC3339) }
	clock := now.UTC().Format(time.RFC3339)
	switch {
	case c.Issuer != issuer:
		return invalid("the bearer token is of the issuer %q, not of %s", shorten(c.Issuer), issuer)
	case c.Expiry == nil:
		return invalid("the bearer token does not say when it expires")
	case now.Add(-leeway).After(c.Expiry.Time()):
		return invalid("the bearer token expired at %s; the server's clock says %s", at(c.Expiry), clock).WithHint("get a new one")
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time()):
		return invalid("the bearer token is good from %s; the server's clock says %s", at(c.NotBefore), clock)
	case c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.Time()):
		return invalid("the bearer token was issued at %s, in the future; the server's clock says %s", at(c.IssuedAt), clock)
	case c.Subject == "" && c.client() == "":
		return invalid("the bearer token names neither subject (sub) nor client (client_id, azp)")
	case len(c.Subject) > maxName || len(c.client()) > maxName || len(c.Issuer) > maxName:
		return invalid("the bearer token's iss, sub or client_id has more than %d bytes", maxName)
	}
	return nil
}

// authorize checks what an authorizer asks for. All kinds that it names must hold.
func (c *claims) authorize(a *isolde.JWTAuthorizer) error {
	switch {
	case len(a.AllowedAudience) > 0 && !overlap(c.Audience, a.AllowedAudience):
		return invalid("the bearer token is for %s, not for this agent runtime", list(c.Audience)).
			WithHint("get one with an audience that the runtime's allowedAudience names")
	case len(a.AllowedClients) > 0 && !overlap(c.clients(), a.AllowedClients):
		return insufficient("the bearer token's client is %s, which this agent runtime does not allow", list(c.clients())).
			WithHint("allowedClients names those that it does")
	case len(a.AllowedScopes) > 0 && !overlap(c.scopes(), a.AllowedScopes):
		return insufficient("the bearer token has the scopes %s; this agent runtime needs one of %s", list(c.scopes()), list(a.AllowedScopes))
	}
	for _, rule := range a.CustomClaims {
		if !c.holds(rule) {
			return insufficient("the bearer token's claim %q is not what this agent runtime needs", rule.Name)
		}
	}
	return nil
}

// client is the one the token was given to: client_id in access tokens (RFC
// 9068), azp in ID tokens.
func (c *claims) client() string {
	if all := c.clients(); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (c *claims) clients() []string {
	var all []string
	for _, name := range []string{"client_id", "azp"} {
		if s, ok := c.all[name].(string); ok && s != "" {
			all = append(all, s)
		}
	}
	return all
}

// scopes are those in scope, separated by spaces, and in scp, which some
// providers write as a list.
func (c *claims) scopes() []string {
	var all []string
	for _, name := range []string{"scope", "scp"} {
		if s, ok := c.all[name].(string); ok {
			all = append(all, strings.Fields(s)...)
		} else {
			all = append(all, texts(c.all[name])...)
		}
	}
	return all
}

// holds says whether a claim is as a rule wants it. A claim of another type
// than the rule's is not.
func (c *claims) holds(r isolde.ClaimRule) bool {
	wanted := r.Match.Value.Strings
	if r.Match.Value.String != nil {
		wanted = []string{*r.Match.Value.String}
	}
	switch {
	case checkRule(r) != nil:
		return false
	case r.Type == "STRING":
		s, ok := c.all[r.Name].(string)
		return ok && s == wanted[0]
	}
	return overlap(texts(c.all[r.Name]), wanted)
}

// texts are the strings of a list; none where it holds anything else.
func texts(claim any) []string {
	values, ok := claim.([]any)
	if !ok {
		return nil
	}
	all := make([]string, len(values))
	for i, v := range values {
		if all[i], ok = v.(string); !ok {
			return nil
		}
	}
	return all
}

func overlap(have, want []string) bool {
	return slices.ContainsFunc(have, func(s string) bool { return slices.Contains(want, s) })
}

// list is for messages: bounded, whatever a token holds.
func list(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return shorten(strings.Join(all, ", "))
}
