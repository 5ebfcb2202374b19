package jwt

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

const metadataName = "/.well-known/oauth-protected-resource"

// ResourceURL is the URL of an agent runtime's invocations: base is the
// server's own, such as "https://agents.example.com". The qualifier may be empty.
func ResourceURL(base, arn, qualifier string) string { return resource(base, arn, "", qualifier) }

// MetadataURL is where the [Metadata] of that resource is.
func MetadataURL(base, arn, qualifier string) string {
	return resource(base, arn, metadataName, qualifier)
}

func resource(base, arn, name, qualifier string) string {
	u := strings.TrimRight(base, "/") + "/runtimes/" + url.QueryEscape(arn) + "/invocations" + name
	if qualifier != "" {
		u += "?qualifier=" + url.QueryEscape(qualifier)
	}
	return u
}

// Metadata says where tokens for a resource come from (RFC 9728). It is
// served without authentication.
type Metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	Methods              []string `json:"bearer_methods_supported"`
}

// Metadata makes the document of a resource. It asks the provider for its
// issuer, unless that is known, and fails like [Verifier.Verify].
func (v *Verifier) Metadata(ctx context.Context, a *isolde.JWTAuthorizer, resource string) (*Metadata, error) {
	s, err := v.provider(a.DiscoveryURL).current(ctx)
	if err != nil {
		return nil, err
	}
	return &Metadata{
		Resource:             resource,
		AuthorizationServers: []string{s.issuer},
		Scopes:               AdvertisedScopes(a),
		Methods:              []string{"header"},
	}, nil
}

// AdvertisedScopes are the allowed scopes under the names by which clients
// ask the provider for them.
func AdvertisedScopes(a *isolde.JWTAuthorizer) []string {
	all := slices.Clone(a.AllowedScopes)
	for i, scope := range all {
		if name, ok := a.AdvertisedScopeMapping[scope]; ok {
			all[i] = name
		}
	}
	return all
}

// Challenge is the value of the WWW-Authenticate header for an error of this
// package: where to find out how to get a token, what was wrong with the one there was (RFC
// 6750), and, for one that lacks a right, which scopes would do. It is empty for errors that no
// other token would mend.
func Challenge(err error, metadata string, scopes []string) string {
	e := isolde.AsError(err)
	params := []string{`resource_metadata="` + quotable(metadata) + `"`}
	switch {
	case errors.Is(err, ErrNoToken):
	case e.Code == isolde.CodeUnauthorized:
		params = append(params, `error="invalid_token"`, `error_description="`+quotable(e.Message)+`"`)
	case e.Code == isolde.CodeDenied:
		params = append(params, `error="insufficient_scope"`, `error_description="`+quotable(e.Message)+`"`)
		if len(scopes) > 0 {
			params = append(params, `scope="`+quotable(strings.Join(scopes, " "))+`"`)
		}
	default:
		return ""
	}
	return "Bearer " + strings.Join(params, ", ")
}

// quotable leaves the characters that RFC 6750 allows within quotes.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"', r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
}
