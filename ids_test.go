package isolde_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
)

// FuzzIDs compares the hand-written checks with what they stand for.
func FuzzIDs(f *testing.F) {
	runtime := regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,47}-[a-zA-Z0-9]{10}$`)
	session := regexp.MustCompile(`^[\x21-\x7e]{33,256}$`)
	for _, s := range []string{
		"a-0123456789", "a_1-abcdefghiJ", "-0123456789", "1-0123456789", "a-01234_6789", "a-012345678", "a--123456789",
		strings.Repeat("a", 48) + "-0123456789", strings.Repeat("a", 49) + "-0123456789",
		strings.Repeat("!", 33), strings.Repeat("~", 32), strings.Repeat("x", 257), strings.Repeat("x", 32) + " ", strings.Repeat("x", 32) + "\x7f", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := isolde.ParseRuntimeID(s); (err == nil) != runtime.MatchString(s) {
			t.Errorf("runtime id %q: %v", s, err)
		}
		if _, err := isolde.ParseSessionID(s); (err == nil) != session.MatchString(s) {
			t.Errorf("session id %q: %v", s, err)
		}
	})
}
