package test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/auth"
)

// TestKeysAndRealClients has AWS's own clients call a server that asks for
// keys: each signs in a way of its own.
func TestKeysAndRealClients(t *testing.T) {
	clients := clients(t)
	file := filepath.Join(t.TempDir(), "keys.yaml")
	add := func(name string, rights ...auth.Right) *auth.Key {
		k, err := auth.NewKey(name, rights...)
		if err == nil {
			err = auth.AddToFile(file, k)
		}
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	all := add("all", auth.AllRights...)
	caller, other, deployer := add("caller", auth.Invoke), add("other", auth.Invoke), add("deployer", auth.Control)
	wrong, unknown := *caller, *caller
	wrong.Secret += "x"
	unknown.ID = "AKIDNOBODY"
	b := newBedFor(t, all, "process", "--keys", file, "--bind-sessions", "all")
	arn := b.deploy("agents/echo")
	for i, c := range clients {
		session := string(sessionNumber(i))
		for _, test := range []struct {
			name string
			key  *auth.Key
			env  string
			want string // exception
		}{
			{"the right key", caller, "", ""},
			{"a wrong secret", &wrong, "", "InvalidSignatureException"},
			{"an unknown key", &unknown, "", "UnrecognizedClientException"},
			{"another region", caller, "AWS_REGION=eu-west-1", "InvalidSignatureException"},
			{"a key without the right", deployer, "", "AccessDeniedException"},
			{"another's session", other, "", "AccessDeniedException"},
		} {
			if i > 0 && test.name != "the right key" && test.name != "a wrong secret" {
				continue // the server's part was seen with the first
			}
			as := c
			as.env = slices.Concat(c.env, credentials(test.key))
			if test.env != "" {
				as.env = append(as.env, test.env, strings.Replace(test.env, "AWS_", "AWS_DEFAULT_", 1))
			}
			got := last(as.run(t, b, "big", arn, "20000000", "--session", session))
			if test.want == "" && got.Event != "end" || test.want != "" && got.Exception != test.want && got.Code != test.want {
				t.Errorf("%s with %s: %+v, want %q", c.name, test.name, got, test.want)
			}
		}
	}

	// The command signs as well; without a key it says what is missing.
	if out := b.mustIsolde("session", "ls", "-o", "json"); !strings.Contains(out, `"owner": "key:caller"`) {
		t.Errorf("sessions do not say whose they are: %s", out)
	}
	b.key = nil
	if _, errs, exit := b.isolde("agent", "ls"); exit != 3 || !strings.Contains(errs, "AWS_ACCESS_KEY_ID") {
		t.Errorf("without a key: exit code %d, %s", exit, errs)
	}
	if out := b.mustIsolde("env", "--aws"); strings.Contains(out, "export AWS_ACCESS_KEY_ID") {
		t.Errorf("made-up credentials for a server that wants real ones:\n%s", out)
	}
	b.key = caller
	if out := b.mustIsolde("invoke", "--agent", arn, "--new-session", "hello"); !strings.Contains(out, `"count"`) {
		t.Errorf("invoke with a key that may do nothing else: %s", out)
	}

	// A key that is removed is refused, without a new start of the server.
	b.mustIsolde("keys", "rm", "caller", "--file", file)
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, _, exit := b.isolde("invoke", "--agent", arn, "--new-session", "hello"); exit == 3 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("a key that was removed still works: exit code %d", exit)
		}
	}
	b.key = all // to clear up
}
