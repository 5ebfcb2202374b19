package agentcore

import (
	"net/http"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/gate"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/catalog"
)

// Binding says which sessions belong to the identity that started them, so
// that no other may enter them, unless their agent runtime says so itself
// ([isolde.VersionSpec].BindSessions). AWS has no such rule: it leaves session
// ids to whoever hands them out.
type Binding string

// The bindings. An identity is a token's issuer and subject, or a key's name.
const (
	BindJWT  Binding = "jwt"  // those of agent runtimes with a JWT authorizer; also the empty one
	BindAll  Binding = "all"  // those of all whose callers are known
	BindNone Binding = "none" // none
)

// bound reports whether the callers of a version whose identity is known have
// their sessions to themselves.
func (h *Handler) bound(spec isolde.VersionSpec) bool {
	switch {
	case spec.BindSessions != nil:
		return *spec.BindSessions
	case spec.Authorizer != nil:
		return h.Binding != BindNone
	default:
		return h.Binding == BindAll
	}
}

// allow lets requests through to an operation on an agent runtime. Those of a
// runtime with a JWT authorizer need one of its tokens, all others a key of
// the server, if it asks for keys; each with the right. The caller is in the context of what
// is let through, and its sessions are bound to it where the rule says so: see
// [auth.Owner]. An operation need do no more than to pass that context on.
func (h *Handler) allow(right auth.Right, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		target, err := h.target(r)
		var t *catalog.Target
		if err == nil {
			t, err = h.Catalog.Resolve(r.Context(), target, qualifier(r))
		}
		switch {
		case err == nil && t.Version.Spec.Authorizer != nil:
			h.allowToken(w, r, right, t, next)
		case h.Gate != nil:
			h.allowKey(w, r, right, t, err, next)
		default:
			h.let(next, w, r) // what is wrong with the target is its to say
		}
	}
}

// allowToken lets through who has a token of the runtime's authorizer.
func (h *Handler) allowToken(w http.ResponseWriter, r *http.Request, right auth.Right, t *catalog.Target, next http.HandlerFunc) {
	a := t.Version.Spec.Authorizer.JWT
	identity, err := h.checkToken(r, a, right, t.Runtime.Name)
	if err != nil {
		metadata := jwt.MetadataURL(baseURL(r), h.Locality.RuntimeARN(t.Runtime.ID), string(qualifier(r)))
		if challenge := jwt.Challenge(err, metadata, jwt.AdvertisedScopes(a)); challenge != "" {
			w.Header().Set("WWW-Authenticate", challenge)
		}
		h.refuse(w, r, err)
		return
	}
	h.let(next, w, r.WithContext(auth.NewContext(r.Context(), identity, h.bound(t.Version.Spec))))
}

// let has next serve a request whose caller is known, if one is asked for.
func (h *Handler) let(next http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	if h.Binding == BindNone && auth.Owner(r.Context()) == "" { // sessions that were bound before are nobody's now
		r = r.WithContext(auth.Unbound(r.Context()))
	}
	next(w, r)
}

// allowKey lets through who has a key of the server. Who has one learns of
// broken, the reason why there is no t, and nobody else.
func (h *Handler) allowKey(w http.ResponseWriter, r *http.Request, right auth.Right, t *catalog.Target, broken error, next http.HandlerFunc) {
	need := gate.Need{Right: right, Limit: isolde.MaxPayload}
	if broken == nil {
		need.Runtime = t.Runtime.Name
	} else {
		need.Runtime = h.nameOf(pathTarget(r))
	}
	if len(r.Header[HeaderUser]) > 0 {
		need.Also, need.Signed = auth.InvokeForUser, strings.ToLower(HeaderUser)
	}
	admitted, err := h.Gate.Admit(w, r, need)
	if err != nil {
		h.refuse(w, r, denied(err))
		return
	}
	defer admitted.Close()
	if broken != nil {
		// Not next's to say: the target may be there by now, with an authorizer.
		h.refuse(w, admitted.Request(r, false), broken)
		return
	}
	h.let(next, w, admitted.Request(r, h.bound(t.Version.Spec)))
}

// refuse answers in the form of the agent's protocol.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set(HeaderRequestID, newRequestID())
	x := h.exchange(r)
	x.writeError(w, err)
}

// denied is the error as AgentCore has it, which does not tell a request
// without credentials from one whose credentials do not do.
func denied(err error) error {
	if e := isolde.AsError(err); e.Code == isolde.CodeNoCredentials {
		same := *e
		same.Code = isolde.CodeDenied
		return &same
	}
	return err
}

// nameOf is the name in an agent runtime's ARN, id or name, whether there is
// one or not. Names hold no hyphen, and what follows one makes an id.
func (h *Handler) nameOf(target string) string {
	target = target[strings.LastIndexByte(target, '/')+1:]
	name, _, _ := strings.Cut(target, "-")
	return name
}

// checkToken is the identity of the request's token, if the authorizer takes
// it and it has the right.
func (h *Handler) checkToken(r *http.Request, a *isolde.JWTAuthorizer, right auth.Right, runtime string) (auth.Identity, error) {
	token, err := jwt.FromRequest(r)
	if err != nil {
		return auth.Identity{}, err
	}
	identity, err := h.Tokens.Verify(r.Context(), a, token.Text)
	if err != nil {
		return auth.Identity{}, err
	}
	if len(r.Header[HeaderUser]) > 0 { // the user is the token's
		if err := identity.May(auth.InvokeForUser, runtime); err != nil {
			return auth.Identity{}, err
		}
	}
	return identity, identity.May(right, runtime)
}

// allowControl lets a request through to an operation of the control plane.
// The caller closes what it returns, which is nil where nobody is asked for a key.
func (h *Handler) allowControl(w http.ResponseWriter, r *http.Request) (*gate.Admitted, error) {
	if h.Gate == nil {
		return nil, nil
	}
	need := gate.Need{Right: auth.Control, Limit: maxBody}
	for _, name := range []string{"id", "arn"} {
		if v := r.PathValue(name); v != "" {
			need.Runtime = h.nameOf(runtimePart(v))
		}
	}
	admitted, err := h.Gate.Admit(w, r, need)
	return admitted, denied(err)
}

// runtimePart cuts an endpoint off an ARN:
// arn:…:runtime/ID/runtime-endpoint/NAME.
func runtimePart(arn string) string {
	arn, _, _ = strings.Cut(arn, "/runtime-endpoint/")
	return arn
}
