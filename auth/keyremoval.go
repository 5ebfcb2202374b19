package auth

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/isolde-run/isolde"
)

// KeysInFile are the keys of a file, in its order. Errors are those of
// [OpenKeys]; [fs.ErrNotExist] if there is none.
func KeysInFile(path string) ([]*Key, error) { return readFile(path) }

// RemoveFromFile removes a key, by its id or its name, and returns it. All
// else in the file stays as it is, comments included. A server that uses the
// file forgets the key a second later. Errors: CodeNotFound, CodeConflict when
// several keys have the name or the file is not written one key after the other.
func RemoveFromFile(path, idOrName string) (*Key, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	keys, err := readFile(path)
	if err != nil {
		return nil, err
	}
	at, err := findKey(path, keys, idOrName)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	rest, ok := cutEntry(text, at)
	if left, err := parseKeys(path, rest); !ok || err != nil || !isWithout(left, keys, at) {
		return nil, isolde.Errorf(isolde.CodeConflict, "%s is not written such that a key can be cut out", path).WithHint("remove it by hand")
	}
	return keys[at], replaceFile(path, rest)
}

func findKey(path string, keys []*Key, idOrName string) (int, error) {
	found := -1
	for n, k := range keys {
		if k.ID == idOrName {
			return n, nil
		}
		if k.Name == idOrName && found >= 0 {
			return 0, isolde.Errorf(isolde.CodeConflict, "several keys in %s have the name %s", path, idOrName).
				WithHint("name one by its id: %s or %s", keys[found].ID, k.ID)
		}
		if k.Name == idOrName {
			found = n
		}
	}
	if found < 0 {
		return 0, isolde.Errorf(isolde.CodeNotFound, "no key in %s has the name or id %s", path, idOrName).WithHint("see: isolde keys ls")
	}
	return found, nil
}

// cutEntry is the text of a list without the lines of its item at, but with
// the comments before the next one.
func cutEntry(text []byte, at int) ([]byte, bool) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) != 1 {
		return nil, false
	}
	list, ok := file.Docs[0].Body.(*ast.SequenceNode)
	if !ok || at >= len(list.Values) {
		return nil, false
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	line := func(n int) int { return min(list.Values[n].GetToken().Position.Line-1, len(lines)) }
	from, to := line(at), len(lines)
	if at+1 < len(list.Values) {
		to = line(at + 1)
	}
	for to > from+1 && isRemark(string(lines[to-1])) {
		to--
	}
	if from >= to {
		return nil, false // two keys on one line
	}
	return bytes.Join(append(lines[:from:from], lines[to:]...), nil), true
}

// isRemark says whether a line holds nothing but white space or a comment.
func isRemark(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}

// isWithout says whether left are the keys but for the one at.
func isWithout(left, keys []*Key, at int) bool {
	if len(left) != len(keys)-1 {
		return false
	}
	for n, k := range left {
		if n >= at {
			n++
		}
		if k.ID != keys[n].ID || k.Secret != keys[n].Secret {
			return false
		}
	}
	return true
}

// replaceFile puts another content in place of a file's, in one step, for the
// same owner and with the same permissions.
func replaceFile(path string, content []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keys-*")
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has another name by then
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(owner.Uid), int(owner.Gid)) // only root may; others own the file
	}
	if _, err = f.Write(content); err == nil {
		err = f.Chmod(info.Mode() & fs.ModePerm)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}
