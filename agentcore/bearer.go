package agentcore

import (
	"net/http"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth/jwt"
)

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
	if err != nil && isolde.CodeOf(err) != isolde.CodeNotFound {
		return nil, err
	}
	if err != nil || t.Version.Spec.Authorizer == nil { // the same: whoever asks is not known
		return nil, isolde.Errorf(isolde.CodeNotFound, "there is no agent runtime %s with a customJWTAuthorizer", target)
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
