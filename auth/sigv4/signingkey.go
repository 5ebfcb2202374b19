package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"strings"
	"sync"

	"github.com/isolde-run/isolde/auth"
)

// signingKeys remembers the keys that signatures are made with: one per
// secret, day, region and service, four HMACs away from the secret.
type signingKeys struct {
	mu   sync.RWMutex
	made map[scope]*signingKey
}

// signingKey makes signatures. It keeps HMACs that have taken in the key,
// which is half of the work for so short a text.
type signingKey struct {
	secret auth.Secret // that it was made from; the operator may change it
	macs   sync.Pool   // of *signature
}

type signature struct {
	hash.Hash
	sum [sha256.Size]byte
}

// matches compares the signature of a text with another, in constant time.
func (k *signingKey) matches(text, with []byte) bool {
	s := k.macs.Get().(*signature)
	defer k.macs.Put(s)
	s.Reset()
	s.Write(text)
	return hmac.Equal(s.Sum(s.sum[:0]), with)
}

// maxSigningKeys is more than a day needs; beyond it all are made anew.
const maxSigningKeys = 10_000

func (s *signingKeys) get(at scope, key *auth.Key) *signingKey {
	s.mu.RLock()
	k := s.made[at]
	s.mu.RUnlock()
	if k != nil && k.secret == key.Secret {
		return k
	}
	secret := mac([]byte("AWS4"+string(key.Secret)), at.date)
	for _, text := range []string{at.region, at.service, terminator} {
		secret = mac(secret, text)
	}
	k = &signingKey{secret: key.Secret}
	k.macs.New = func() any { return &signature{Hash: hmac.New(sha256.New, secret)} }
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil || len(s.made) >= maxSigningKeys {
		s.made = make(map[scope]*signingKey)
	}
	s.made[scope{key.ID, strings.Clone(at.date), strings.Clone(at.region), strings.Clone(at.service)}] = k // not the whole header
	return k
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
