package auth

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestRemoveFromFile(t *testing.T) {
	const text = `# who may call
- id: ISOLONE
  secret: a-secret-of-thirty-characters-1
  name: one
  rights: [invoke]

# the second is for CI
- id: ISOLTWO
  secret: a-secret-of-thirty-characters-2
  name: two
  rights:
    - invoke
    - control
- id: ISOLTHREE
  secret: a-secret-of-thirty-characters-3
  name: two
  rights: [invoke]
# the end
`
	const oneLine = `[{"id":"ISOLONE","secret":"a-secret-of-thirty-characters-1","name":"one","rights":["invoke"]},{"id":"ISOLTWO","secret":"a-secret-of-thirty-characters-2","name":"two","rights":["invoke"]}]`
	for _, test := range []struct {
		remove, from, want string
		code               isolde.Code
	}{
		{"one", text, text[:len("# who may call\n")] + text[len("# who may call\n- id: ISOLONE\n  secret: a-secret-of-thirty-characters-1\n  name: one\n  rights: [invoke]\n"):], ""},
		{"ISOLTHREE", text, text[:len(text)-len("- id: ISOLTHREE\n  secret: a-secret-of-thirty-characters-3\n  name: two\n  rights: [invoke]\n# the end\n")] + "# the end\n", ""},
		{"two", text, text, isolde.CodeConflict},
		{"three", text, text, isolde.CodeNotFound},
		{"one", oneLine, oneLine, isolde.CodeConflict},
	} {
		file := filepath.Join(t.TempDir(), "keys.yaml")
		if err := os.WriteFile(file, []byte(test.from), 0o640); err != nil {
			t.Fatal(err)
		}
		_, err := RemoveFromFile(file, test.remove)
		if isolde.CodeOf(err) != test.code {
			t.Errorf("remove %s: %v", test.remove, err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, string(got)); diff != "" {
			t.Errorf("remove %s (-want +got):\n%s", test.remove, diff)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func FuzzRemoveFromFile(f *testing.F) {
	f.Add("- id: ISOLONE\n  secret: a-secret-of-thirty-characters-1\n  name: one\n  rights: [invoke]\n", 0)
	f.Add("# x\n-\n  id: A_B\n  secret: >-\n    a-secret-of-thirty-characters-1\n  name: one\n  rights: [invoke]\n- {}\n", 1)
	f.Fuzz(func(t *testing.T, text string, at int) {
		if rest, ok := cutEntry([]byte(text), max(at, 0)); ok && len(rest) >= len(text) {
			t.Errorf("%q without %d is %q", text, at, rest)
		}
	})
}
