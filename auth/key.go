package auth

import (
	"crypto/rand"
	"encoding/base64"
	"path"
	"regexp"
	"slices"

	"github.com/isolde-run/isolde"
)

// Key is what one caller signs with, in the shape of an AWS access key.
type Key struct {
	ID           string   `yaml:"id"`              // the access key id, 3 to 128 letters, digits, - and _
	Secret       Secret   `yaml:"secret"`          // the secret access key, at least 20 characters
	SessionToken Secret   `yaml:"token,omitempty"` // where set, requests must carry it; where not, theirs is ignored
	Name         string   `yaml:"name"`            // who has it, for logs and as identity
	Rights       []Right  `yaml:"rights"`
	Runtimes     []string `yaml:"runtimes,omitempty"` // globs of agent runtime names, as of path.Match; none means all
}

// Secret is text that formats as "[secret]", so that no log and no error can
// show it by accident. A conversion to string shows it.
type Secret string

const redacted = "[secret]"

// String does not show the secret.
func (s Secret) String() string { return redacted }

// GoString does not show the secret.
func (s Secret) GoString() string { return redacted }

// MarshalText does not show the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const minSecret = 20

var (
	keyIDRE  = regexp.MustCompile(`^[A-Za-z0-9_-]{3,128}$`)
	keyName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
	secretRE = regexp.MustCompile(`^[\x21-\x7e]*$`)
)

// NewKey makes a key that nobody had before: the id as long as AWS's, the
// secret with 240 random bits and no character that a shell or a URL minds.
func NewKey(name string, rights ...Right) (*Key, error) {
	k := &Key{ID: "ISOL" + rand.Text()[:16], Secret: newSecret(), Name: name, Rights: rights}
	return k, k.check()
}

func newSecret() Secret {
	var b [30]byte
	rand.Read(b[:])
	return Secret(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Identity is who a request with this key's signature comes from.
func (k *Key) Identity() Identity {
	return Identity{Kind: KindKey, Name: k.Name, KeyID: k.ID, rights: k.Rights, runtimes: k.Runtimes}
}

// check is what must hold of a key that is read or made.
func (k *Key) check() error {
	switch {
	case !keyIDRE.MatchString(k.ID):
		return isolde.Errorf(isolde.CodeInvalid, "access key id %q must have 3 to 128 letters, digits, hyphens and underscores", k.ID)
	case !keyName.MatchString(k.Name):
		return isolde.Errorf(isolde.CodeInvalid, "key %s has the name %q; a name has 1 to 64 letters, digits and ._@-", k.ID, k.Name)
	case len(k.Secret) < minSecret || !secretRE.MatchString(string(k.Secret)):
		return isolde.Errorf(isolde.CodeInvalid, "the secret of key %s has %d characters; it must have at least %d, without spaces", k.ID, len(k.Secret), minSecret).
			WithHint("isolde keys add makes good ones")
	case !secretRE.MatchString(string(k.SessionToken)):
		return isolde.Errorf(isolde.CodeInvalid, "the token of key %s may hold visible ASCII characters only", k.ID)
	case len(k.Rights) == 0:
		return isolde.Errorf(isolde.CodeInvalid, "key %s has no rights", k.ID).WithHint("there are: %s", rightsList())
	}
	for _, r := range k.Rights {
		if !slices.Contains(AllRights, r) {
			return isolde.Errorf(isolde.CodeInvalid, "key %s has the right %q, which is none", k.ID, r).WithHint("there are: %s", rightsList())
		}
	}
	for _, glob := range k.Runtimes {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			return isolde.Errorf(isolde.CodeInvalid, "key %s is for the runtimes %q, which is no pattern", k.ID, glob).WithHint(`for example "support_*"`)
		}
	}
	return nil
}
