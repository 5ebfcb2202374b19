// Package jwt checks bearer tokens for agent runtimes with a customJWTAuthorizer:
// signed by a key that the OpenID Connect provider publishes now, of that issuer, not
// expired, and with the audience, client, scopes and claims that the authorizer asks for.
//
//	token, err := jwt.FromRequest(r)
//	identity, err := verifier.Verify(ctx, authorizer, token.Text)
//	w.Header().Set("WWW-Authenticate", jwt.Challenge(err, …)) // where one failed
//
// A missing, expired or otherwise invalid token is CodeUnauthorized, 401; a valid one
// that lacks client, scope or claim is CodeDenied, 403 (RFC 6750, section 3.1).
package jwt
