package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// A temporary key is derived from the key of whoever asked for it: its id says
// until when it is good and whose it is, and its secret and token are made of the id
// and that key's secret. So nothing has to be kept, a server that starts anew
// knows it still, and it goes when the other key goes or gets another secret. Who
// changes the id of one has no secret to go with it.

// temporaryPrefix is that of AWS's temporary keys.
const temporaryPrefix = "ASIA"

var temporaryID = base32.StdEncoding.WithPadding(base32.NoPadding)

const (
	expiryBytes = 4 // Unix seconds
	nonceBytes  = 6
)

// Issue makes a temporary key for an identity that has a key, with the same
// name and rights. It is good for that long, but not longer than a temporary
// key that the identity was proven with.
func (k *Keys) Issue(to Identity, life time.Duration) (key *Key, expires time.Time, err error) {
	expires = time.Now().Add(life).Truncate(time.Second)
	of := to.KeyID
	if at, base, ok := parseTemporary(of); ok {
		if of = base; at.Before(expires) {
			expires = at
		}
	}
	base, ok := k.Lookup(of)
	if !ok {
		return nil, time.Time{}, isolde.Errorf(isolde.CodeUnknownKey, "access key %s is not known any more", of)
	}
	raw := make([]byte, expiryBytes+nonceBytes, expiryBytes+nonceBytes+len(base.ID))
	binary.BigEndian.PutUint32(raw, uint32(expires.Unix()))
	rand.Read(raw[expiryBytes:])
	return base.temporary(temporaryPrefix + temporaryID.EncodeToString(append(raw, base.ID...))), expires, nil
}

// parseTemporary takes an id apart; false if it is not that of a temporary key.
func parseTemporary(id string) (expires time.Time, base string, ok bool) {
	text, ok := strings.CutPrefix(id, temporaryPrefix)
	if !ok {
		return time.Time{}, "", false
	}
	raw, err := temporaryID.DecodeString(text)
	if err != nil || len(raw) <= expiryBytes+nonceBytes {
		return time.Time{}, "", false
	}
	return time.Unix(int64(binary.BigEndian.Uint32(raw)), 0), string(raw[expiryBytes+nonceBytes:]), true
}

// temporary is the temporary key of that id.
func (k *Key) temporary(id string) *Key {
	derive := func(what string) Secret {
		h := hmac.New(sha256.New, []byte("isolde temporary "+what+" "+string(k.Secret)))
		h.Write([]byte(id))
		return Secret(base64.RawURLEncoding.EncodeToString(h.Sum(nil)))
	}
	return &Key{ID: id, Secret: derive("secret"), SessionToken: derive("token"), Name: k.Name, Rights: k.Rights, Runtimes: k.Runtimes}
}

// lookupTemporary finds the temporary key of an id, if it is good still.
func (k *Keys) lookupTemporary(id string) (*Key, bool) {
	expires, base, ok := parseTemporary(id)
	if !ok || !time.Now().Before(expires) {
		return nil, false
	}
	key, ok := (*k.byID.Load())[base]
	if !ok {
		return nil, false
	}
	return key.temporary(id), true
}
