package auth

import (
	"path"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// Kind is how an [Identity] was found.
type Kind string

// The kinds of identities.
const (
	KindNone Kind = "none" // the server takes everyone (--auth none)
	KindKey  Kind = "key"  // a signature of one of the server's keys
	KindJWT  Kind = "jwt"  // a bearer token
)

// Right is something an identity may do.
type Right string

// The rights, each on its own: none holds another.
const (
	Invoke        Right = "invoke"          // call agents, stop sessions, read agent cards
	InvokeForUser Right = "invoke-for-user" // say in a header which user a call is for
	Command       Right = "command"         // run commands and shells in sessions
	Control       Right = "control"         // the AgentCore control plane, and what deploy scripts call beside it
	Operator      Right = "operator"        // Isolde's own API: deploy, logs of all sessions, backups
)

// AllRights are the rights in the order in which they are listed.
var AllRights = []Right{Invoke, InvokeForUser, Command, Control, Operator}

// rightsList names all rights for a hint.
func rightsList() string {
	names := make([]string, len(AllRights))
	for i, r := range AllRights {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// tokenRights are what a bearer token allows at the agent runtime whose
// authorizer took it. The user of such a call is the token's.
var tokenRights = []Right{Invoke, Command}

// Identity is who is calling, once that is proven. The zero value may nothing.
type Identity struct {
	Kind     Kind
	Name     string         // of the key
	KeyID    string         // the key's access key id
	Issuer   string         // of the token
	Subject  string         // the token's sub; empty where a client acts for itself
	Client   string         // the token's client_id or azp; may be empty
	Claims   map[string]any // all of the token; numbers are float64
	rights   []Right
	runtimes []string // globs; empty means every agent runtime
}

// Anyone is the identity of every caller of a server that asks for no
// credentials. It may do everything.
func Anyone() Identity { return Identity{Kind: KindNone, rights: AllRights} }

// Bearer is the identity of a token that was checked. One of subject and
// client must be there, as nothing else tells the token's owner from others.
func Bearer(issuer, subject, client string, claims map[string]any) Identity {
	return Identity{Kind: KindJWT, Issuer: issuer, Subject: subject, Client: client, Claims: claims, rights: tokenRights}
}

// String is the same for every call of one caller and different for different
// callers, so that it can be kept with a session that no other may enter.
// Keys of one name are one caller: that is how a key is replaced by another.
func (i Identity) String() string {
	switch {
	case i.Kind == KindKey:
		return "key:" + i.Name
	case i.Kind == KindJWT && i.Subject != "":
		return "jwt:" + noHash(i.Issuer) + "#" + i.Subject
	case i.Kind == KindJWT:
		return "jwt-client:" + noHash(i.Issuer) + "#" + i.Client
	}
	return string(KindNone)
}

// noHash keeps issuer and subject apart: an issuer is a URL without a
// fragment, but nobody made it be one.
func noHash(issuer string) string { return hashes.Replace(issuer) }

var hashes = strings.NewReplacer("%", "%25", "#", "%23")

// May is nil when the identity has the right over the agent runtime of that
// name, and an [isolde.Error] with CodeDenied when not. The name is empty for
// what concerns no single runtime, such as a list; of identities that are bound to
// runtimes, those bound to "*" alone may do that.
func (i Identity) May(right Right, runtime string) error {
	if !slices.Contains(i.rights, right) {
		return isolde.Errorf(isolde.CodeDenied, "%s lacks the right %q; it has %s", i.who(), right, i.listRights()).
			WithHint("%s", i.wayOut())
	}
	if len(i.runtimes) == 0 || slices.ContainsFunc(i.runtimes, func(glob string) bool {
		ok, _ := path.Match(glob, runtime) // the pattern was checked when the key was read
		return ok
	}) {
		return nil
	}
	what := "all agent runtimes"
	if runtime != "" {
		what = "agent runtime " + runtime
	}
	return isolde.Errorf(isolde.CodeDenied, "%s has no rights over %s, only over %s", i.who(), what, strings.Join(i.runtimes, ", ")).
		WithHint("%s", i.wayOut())
}

func (i Identity) who() string {
	switch i.Kind {
	case KindKey:
		return "key " + i.Name + " (" + i.KeyID + ")"
	case KindJWT:
		return "a bearer token"
	}
	return "a caller without credentials"
}

func (i Identity) wayOut() string {
	switch i.Kind {
	case KindKey:
		return "use another key, or have the operator give this one more"
	case KindJWT:
		return "this needs a signature with a key of the server"
	}
	return "this needs credentials"
}

func (i Identity) listRights() string {
	if len(i.rights) == 0 {
		return "none"
	}
	names := make([]string, len(i.rights))
	for n, r := range i.rights {
		names[n] = string(r)
	}
	return strings.Join(names, ", ")
}
