package auth

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isolde-run/isolde"
)

const twoKeys = `# who may call
- id: ISOLFIRST
  secret: first-secret-of-20-and-more
  name: ci
  rights: [invoke, command]
  runtimes: ["support_*"]
- {"id": "ISOLSECOND", "secret": "second-secret-of-20-and-more", "name": "ops", "rights": ["operator"]} # JSON
`

// keyFile writes a file of keys.
func keyFile(t testing.TB, path, text string, mode os.FileMode) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "keys.yaml")
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path, text string) *Keys {
	t.Helper()
	k, err := OpenKeys(path, text, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOpenKeys(t *testing.T) {
	path := keyFile(t, "", twoKeys, 0o640)
	k := open(t, path, `[{id: ISOLTHIRD, secret: third-secret-of-20-and-more, token: session, name: dev, rights: [invoke]}]`)
	if k.Len() != 3 {
		t.Errorf("%d keys", k.Len())
	}
	got, ok := k.Lookup("ISOLFIRST")
	want := &Key{ID: "ISOLFIRST", Secret: "first-secret-of-20-and-more", Name: "ci", Rights: []Right{Invoke, Command}, Runtimes: []string{"support_*"}}
	if !ok || !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if third, _ := k.Lookup("ISOLTHIRD"); third == nil || third.SessionToken != "session" {
		t.Errorf("the key of the environment: %+v", third)
	}
	if got, ok := k.Lookup("none"); ok {
		t.Errorf("unknown key: %+v", got)
	}
	if k := open(t, "", ""); k.Len() != 0 {
		t.Errorf("%d keys of nothing", k.Len())
	}
	if k := open(t, keyFile(t, "", "# none yet\n", 0o600), ""); k.Len() != 0 {
		t.Errorf("%d keys of an empty file", k.Len())
	}
}

func TestBadKeys(t *testing.T) {
	const good = "- {id: ISOLFIRST, secret: first-secret-of-20-and-more, name: ci, rights: [invoke]}\n"
	for name, c := range map[string]struct {
		text, says string
		mode       os.FileMode
	}{
		"open to all":     {good, "chmod 600", 0o644},
		"no list":         {"id: x", "no list", 0o600},
		"no YAML":         {good + "- {id: [", "line 2", 0o600},
		"unknown field":   {"- {id: ISOLFIRST, secret: first-secret-of-20-and-more, name: ci, rights: [invoke], until: 1}", "line 1", 0o600},
		"an empty one":    {good + "-\n", "key 2", 0o600},
		"no id":           {"- {secret: first-secret-of-20-and-more, name: ci, rights: [invoke]}", "access key id", 0o600},
		"a short secret":  {"- {id: ISOLFIRST, secret: first-secret, name: ci, rights: [invoke]}", "12 characters", 0o600},
		"no name":         {"- {id: ISOLFIRST, secret: first-secret-of-20-and-more, rights: [invoke]}", "name", 0o600},
		"no rights":       {"- {id: ISOLFIRST, secret: first-secret-of-20-and-more, name: ci}", "no rights (there are: invoke, invoke-for-user, ", 0o600},
		"an unknown one":  {"- {id: ISOLFIRST, secret: first-secret-of-20-and-more, name: ci, rights: [all]}", `"all"`, 0o600},
		"a bad pattern":   {"- {id: ISOLFIRST, secret: first-secret-of-20-and-more, name: ci, rights: [invoke], runtimes: ['[']}", `"["`, 0o600},
		"the same id":     {good + good, "twice", 0o600},
		"the text's id":   {strings.Replace(good, "FIRST", "ENV", 1), "twice", 0o600},
		"more than there": {strings.Repeat("#", maxKeyFile+1), "bytes", 0o600},
	} {
		path := keyFile(t, "", c.text, c.mode)
		_, err := OpenKeys(path, "- {id: ISOLENV, secret: third-secret-of-20-and-more, name: dev, rights: [invoke]}", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "first-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenKeys(t.TempDir()+"/none", "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no file: no error")
	}
}

// again makes the next Lookup look at the file.
func (k *Keys) again() { k.lookAt.Store(0) }

func TestFileChanges(t *testing.T) {
	var log bytes.Buffer
	path := keyFile(t, "", twoKeys, 0o600)
	k, err := OpenKeys(path, "", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	has := func(when, id string, want bool) {
		t.Helper()
		k.again()
		if _, ok := k.Lookup(id); ok != want {
			t.Errorf("%s: %s is there: %t", when, id, ok)
		}
	}
	has("at first", "ISOLFIRST", true)
	if log.Len() > 0 {
		t.Errorf("read without a change: %s", &log)
	}

	added, err := NewKey("more", Control)
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToFile(path, added); err != nil {
		t.Fatal(err)
	}
	has("added", added.ID, true)
	has("added another", "ISOLFIRST", true)

	keyFile(t, path, twoKeys+"- {id: [", 0o600)
	has("a bad file", added.ID, true)
	keyFile(t, path, "- {id: ISOLNEW, secret: first-secret-of-20-and-more, name: ci, rights: [invoke]}", 0o604)
	has("a file open to all", added.ID, true)
	os.Remove(path)
	has("no file", added.ID, true)
	if n := strings.Count(log.String(), "level=ERROR"); n != 3 || strings.Contains(log.String(), "secret-of") {
		t.Errorf("%d errors logged:\n%s", n, &log)
	}
	has("no file still", added.ID, true)
	if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
		t.Errorf("the same error was logged again:\n%s", &log)
	}

	next := filepath.Join(t.TempDir(), "next")
	keyFile(t, next, twoKeys, 0o600)
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	has("replaced", added.ID, false)
	has("replaced", "ISOLFIRST", true)
}

// TestLooksByItself: nobody has to ask for a look.
func TestLooksByItself(t *testing.T) {
	path := keyFile(t, "", twoKeys, 0o600)
	k := open(t, path, "")
	keyFile(t, path, "", 0o600)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, ok := k.Lookup("ISOLFIRST"); !ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the file's change was not seen")
		}
	}
}

func TestLookupWhileFileChanges(t *testing.T) {
	path := keyFile(t, "", twoKeys, 0o600)
	k := open(t, path, "")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				k.again()
				if _, ok := k.Lookup("ISOLSECOND"); !ok {
					t.Error("the key is away for a moment")
				}
			}
		})
	}
	for i := range 20 {
		key, err := NewKey(fmt.Sprint("key", i), Invoke)
		if err == nil {
			err = AddToFile(path, key)
		}
		if err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	k.again()
	k.Lookup("")
	if k.Len() != 22 {
		t.Errorf("%d keys", k.Len())
	}
}

func TestAddToFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	key, err := NewKey("ci", Invoke)
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToFile(path, key); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := AddToFile(path, key); isolde.CodeOf(err) != isolde.CodeConflict {
		t.Errorf("the same key again: %v", err)
	}
	for name, text := range map[string]string{"JSON": "[]", "open": twoKeys, "bad": "x: 1"} {
		mode := os.FileMode(0o600)
		if name == "open" {
			mode = 0o644
		}
		path := keyFile(t, "", text, mode)
		err := AddToFile(path, key)
		got, _ := os.ReadFile(path)
		if err == nil || string(got) != text {
			t.Errorf("%s: %v, and the file is\n%s", name, err, got)
		}
	}
	commented := keyFile(t, "", strings.TrimSuffix(twoKeys, "\n"), 0o600)
	if err := AddToFile(commented, key); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(commented); !strings.HasPrefix(string(got), twoKeys) || open(t, commented, "").Len() != 3 {
		t.Errorf("the file is\n%s", got)
	}
}

// TestAddedKeysComeBack: whatever a key holds, it is read as it was added.
func TestAddedKeysComeBack(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		key := &Key{
			ID:           rapid.StringMatching(`[A-Za-z0-9_-]{3,20}`).Draw(t, "id"),
			Secret:       Secret(rapid.StringMatching(`[!-~]{20,50}`).Draw(t, "secret")),
			SessionToken: Secret(rapid.StringMatching(`[!-~]{0,50}`).Draw(t, "token")),
			Name:         rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._@-]{0,20}`).Draw(t, "name"),
			Rights:       rapid.SliceOfNDistinct(rapid.SampledFrom(AllRights), 1, 5, rapid.ID[Right]).Draw(t, "rights"),
			Runtimes:     rapid.SliceOfN(rapid.StringMatching(`[a-z_*?]{1,10}`), 0, 3).Draw(t, "runtimes"),
		}
		if len(key.Runtimes) == 0 {
			key.Runtimes = nil
		}
		path := filepath.Join(dir, "keys.yaml")
		os.Remove(path)
		if err := AddToFile(path, key); err != nil {
			t.Fatal(err)
		}
		k, err := OpenKeys(path, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := k.Lookup(key.ID); !cmp.Equal(got, key) {
			t.Fatal(cmp.Diff(key, got))
		}
	})
}

func TestNewKey(t *testing.T) {
	a, errA := NewKey("ci", AllRights...)
	b, errB := NewKey("ci", AllRights...)
	if errA != nil || errB != nil || a.ID == b.ID || a.Secret == b.Secret || len(a.ID) != 20 || len(a.Secret) != 40 {
		t.Errorf("%+v, %v; %+v, %v", a, errA, b, errB)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", a, a, a, a.Secret, a.Secret)} {
		if strings.Contains(text, string(a.Secret)) {
			t.Errorf("formatting shows the secret: %s", text)
		}
	}
	if _, err := NewKey("a b", Invoke); isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Error(err)
	}
	if _, err := NewKey("ci"); isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Error(err)
	}
}

func BenchmarkLookup(b *testing.B) {
	k := open(b, keyFile(b, "", twoKeys, 0o600), "")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := k.Lookup("ISOLFIRST"); !ok {
			b.Fatal("not there")
		}
	}
}
