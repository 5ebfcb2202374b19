package auth

import (
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
)

func TestMay(t *testing.T) {
	everywhere := (&Key{ID: "ID", Name: "ci", Rights: []Right{Invoke, Control}}).Identity()
	bound := (&Key{ID: "ID", Name: "ci", Rights: []Right{Invoke}, Runtimes: []string{"support_*", "sales"}}).Identity()
	token := Bearer("https://idp.example", "user", "", nil)
	for _, c := range []struct {
		id      Identity
		right   Right
		runtime string
		says    string // empty: allowed
	}{
		{everywhere, Invoke, "any", ""},
		{everywhere, Control, "", ""},
		{everywhere, Command, "any", `key ci (ID) lacks the right "command"; it has invoke, control`},
		{bound, Invoke, "support_eu", ""},
		{bound, Invoke, "sales", ""},
		{bound, Invoke, "sales2", "agent runtime sales2, only over support_*, sales"},
		{bound, Invoke, "", "all agent runtimes"},
		{bound, InvokeForUser, "sales", "invoke-for-user"},
		{(&Key{Rights: []Right{Invoke}, Runtimes: []string{"*"}}).Identity(), Invoke, "", ""},
		{token, Invoke, "any", ""},
		{token, Command, "any", ""},
		{token, InvokeForUser, "any", "a bearer token lacks"},
		{token, Control, "", "a bearer token lacks"},
		{Anyone(), Operator, "", ""},
		{Anyone(), InvokeForUser, "any", ""},
		{Identity{}, Invoke, "any", "it has none"},
	} {
		err := c.id.May(c.right, c.runtime)
		if (err == nil) != (c.says == "") || err != nil && (isolde.CodeOf(err) != isolde.CodeDenied || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s, %s, %q: %v", c.id, c.right, c.runtime, err)
		}
	}
}

// TestIdentitiesDiffer: no two callers have the same text.
func TestIdentitiesDiffer(t *testing.T) {
	key := func(name, id string) Identity { return (&Key{ID: id, Name: name}).Identity() }
	seen := make(map[string]int)
	for i, id := range []Identity{
		Anyone(), key("a", "1"), key("b", "1"),
		Bearer("https://i", "s", "", nil), Bearer("https://i", "", "s", nil), Bearer("https://i/x", "s", "", nil),
		Bearer("https://i#x", "s", "", nil), Bearer("https://i", "x#s", "", nil), Bearer("https://i%23x", "s", "", nil),
	} {
		if other, ok := seen[id.String()]; ok {
			t.Errorf("%d and %d are both %s", i, other, id)
		}
		seen[id.String()] = i
	}
	if a, b := key("a", "1"), key("a", "2"); a.String() != b.String() {
		t.Errorf("a key that was replaced: %s and %s", a, b)
	}
	if a, b := Bearer("https://i", "s", "x", nil), Bearer("https://i", "s", "y", nil); a.String() != b.String() {
		t.Errorf("one user with two clients: %s and %s", a, b)
	}
}
