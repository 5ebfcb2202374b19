package agentcore

import (
	"net/http"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/jwt"
)

// allow lets requests through to an operation on an agent runtime. Those of a
// runtime with a JWT authorizer need one of its tokens, with the right; all
// others are let through, as this server asks for no other credentials. What
// is wrong with the target is next's to say.
func (h *Handler) allow(right auth.Right, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		target, err := h.target(r)
		if err != nil {
			next(w, r)
			return
		}
		t, err := h.Catalog.Resolve(r.Context(), target, qualifier(r))
		if err != nil || t.Version.Spec.Authorizer == nil {
			next(w, r)
			return
		}
		a := t.Version.Spec.Authorizer.JWT
		if err := h.checkToken(r, a, right, t.Runtime.Name); err != nil {
			metadata := jwt.MetadataURL(baseURL(r), h.Locality.RuntimeARN(t.Runtime.ID), string(qualifier(r)))
			if challenge := jwt.Challenge(err, metadata, jwt.AdvertisedScopes(a)); challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
			}
			w.Header().Set(HeaderRequestID, newRequestID())
			x := h.exchange(r)
			x.writeError(w, err)
			return
		}
		next(w, r)
	}
}

// checkToken is nil if the request's token is one that the authorizer takes,
// with the right.
func (h *Handler) checkToken(r *http.Request, a *isolde.JWTAuthorizer, right auth.Right, runtime string) error {
	token, err := jwt.FromRequest(r)
	if err != nil {
		return err
	}
	identity, err := h.Tokens.Verify(r.Context(), a, token.Text)
	if err != nil {
		return err
	}
	if r.Header.Get(HeaderUser) != "" { // the user is the token's
		if err := identity.May(auth.InvokeForUser, runtime); err != nil {
			return err
		}
	}
	return identity.May(right, runtime)
}

// resourceMetadata serves GetRuntimeProtectedResourceMetadata (RFC 9728): it
// tells who has no token where to get one, so it asks for none.
func (h *Handler) resourceMetadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(HeaderRequestID, newRequestID())
	document, err := h.metadata(r)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, document)
}

func (h *Handler) metadata(r *http.Request) (*jwt.Metadata, error) {
	target, err := h.target(r)
	if err != nil {
		return nil, err
	}
	t, err := h.Catalog.Resolve(r.Context(), target, qualifier(r))
	if err != nil {
		return nil, err
	}
	if t.Version.Spec.Authorizer == nil {
		return nil, isolde.Errorf(isolde.CodeNotFound, "agent runtime %s has no customJWTAuthorizer", t.Runtime.ID)
	}
	resource := jwt.ResourceURL(baseURL(r), h.Locality.RuntimeARN(t.Runtime.ID), string(qualifier(r)))
	return h.Tokens.Metadata(r.Context(), t.Version.Spec.Authorizer.JWT, resource)
}

// baseURL is the server's address as the client knows it.
func baseURL(r *http.Request) string {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host
}
