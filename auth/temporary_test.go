package auth

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTemporaryKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := &Key{ID: "ISOLBASE", Secret: "a-secret-of-thirty-characters.", Name: "ci", Rights: []Right{Invoke}, Runtimes: []string{"support_*"}}
		keys, err := NewKeys(base)
		if err != nil {
			t.Fatal(err)
		}
		made, expires, err := keys.Issue(base.Identity(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := keys.Issue(base.Identity(), time.Hour)
		if err != nil || again.ID == made.ID || again.Secret == made.Secret {
			t.Errorf("issued twice: %s and %s, %v", made.ID, again.ID, err)
		}
		found, ok := keys.Lookup(made.ID)
		if !ok || found.Secret != made.Secret || found.SessionToken != made.SessionToken || found.SessionToken == "" {
			t.Fatalf("not found again: %+v", found)
		}
		if i := found.Identity(); i.String() != base.Identity().String() || i.May(Invoke, "support_a") != nil || i.May(Invoke, "other") == nil || i.May(Control, "support_a") == nil {
			t.Errorf("other rights than the key it is of: %+v", i)
		}
		for _, changed := range []string{made.ID + "A", made.ID[:len(made.ID)-1], temporaryPrefix, temporaryPrefix + "A", "ASIA!!!!"} {
			if k, ok := keys.Lookup(changed); ok && k.Secret == made.Secret {
				t.Errorf("the id %s has the same secret", changed)
			}
		}
		time.Sleep(50 * time.Minute)
		chained, until, err := keys.Issue(found.Identity(), time.Hour)
		if err != nil || !until.Equal(expires) {
			t.Errorf("a temporary key got itself another until %v, %v; it ends at %v", until, err, expires)
		}
		time.Sleep(11 * time.Minute)
		for _, id := range []string{made.ID, chained.ID} {
			if _, ok := keys.Lookup(id); ok {
				t.Errorf("%s is good after its time", id)
			}
		}
		stranger, err := NewKeys(&Key{ID: "ISOLBASE", Secret: "another-secret-of-many-characters", Name: "ci", Rights: AllRights})
		if err != nil {
			t.Fatal(err)
		}
		if k, ok := stranger.Lookup(again.ID); ok && k.Secret == again.Secret {
			t.Error("a new secret of the key left its temporary key good")
		}
	})
}

func FuzzTemporaryID(f *testing.F) {
	keys, err := NewKeys(&Key{ID: "ISOLBASE", Secret: "a-secret-of-thirty-characters.", Name: "ci", Rights: AllRights})
	if err != nil {
		f.Fatal(err)
	}
	key, _, err := keys.Issue(Identity{KeyID: "ISOLBASE"}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key.ID)
	f.Add("ASIAAAAA")
	f.Fuzz(func(t *testing.T, id string) {
		if k, ok := keys.Lookup(id); ok && id != "ISOLBASE" && (k.Name != "ci" || k.SessionToken == "" || id != key.ID && k.Secret == key.Secret) {
			t.Errorf("%q is %+v", id, k)
		}
	})
}
