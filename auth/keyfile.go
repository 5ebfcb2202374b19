package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/isolde-run/isolde"
)

// maxKeyFile bounds a file of keys: room for some 100,000.
const maxKeyFile = 32 << 20

// readFile reads a file of keys: a YAML list, so that adding a key is
// appending text and leaves comments as they are. JSON is YAML as well.
func readFile(path string) ([]*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	text, err := readOpen(path, info, f)
	if err != nil {
		return nil, err
	}
	return parseKeys(path, text)
}

func readOpen(path string, info fs.FileInfo, r io.Reader) ([]byte, error) {
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, isolde.Errorf(isolde.CodeNotConfigured, "keys in %s are open to every user of this machine (mode %04o)", path, mode).
			WithHint("chmod 600 %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read keys: %w", err)
	case len(text) > maxKeyFile:
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s has more than %d bytes", path, maxKeyFile)
	}
	return text, nil
}

// parseKeys reads a list of keys; source names it in errors, which show none
// of the text: it holds secrets.
func parseKeys(source string, text []byte) ([]*Key, error) {
	var keys []*Key
	err := yaml.UnmarshalWithOptions(text, &keys, yaml.Strict())
	if err != nil && !errors.Is(err, io.EOF) { // EOF: nothing but comments
		where := ""
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			where = fmt.Sprintf(" line %d", at.GetToken().Position.Line)
		}
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s%s is no list of keys", source, where).
			WithHint("a key is\n- id: ISOL…\n  secret: …\n  name: ci\n  rights: [invoke]")
	}
	for n, k := range keys {
		if k == nil {
			return nil, isolde.Errorf(isolde.CodeInvalid, "%s: key %d is empty", source, n+1)
		}
		if err := k.check(); err != nil {
			e := isolde.AsError(err)
			e.Message = source + ": " + e.Message
			return nil, e
		}
	}
	return keys, nil
}

// AddToFile appends a key to a file of keys, which it makes, for its owner
// alone, if there is none. A server that uses the file knows the key a second later.
func AddToFile(path string, k *Key) error {
	if err := k.check(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open keys: %w", err)
	}
	text, err := readOpen(path, info, f)
	if err != nil {
		return err
	}
	there, err := parseKeys(path, text)
	if err != nil {
		return err
	}
	for _, other := range there {
		if other.ID == k.ID {
			return isolde.Errorf(isolde.CodeConflict, "access key id %s is in %s already", k.ID, path)
		}
	}
	entry := k.entry()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		entry = append([]byte{'\n'}, entry...)
	}
	if all, err := parseKeys(path, slices.Concat(text, entry)); err != nil || len(all) != len(there)+1 {
		return isolde.Errorf(isolde.CodeConflict, "%s is not written such that a key can be appended", path).
			WithHint("add it by hand, or make the file a YAML list that begins each key with a hyphen")
	}
	if _, err := f.Write(entry); err != nil { // one write: a reader sees all of it or nothing
		return fmt.Errorf("write keys: %w", err)
	}
	return f.Close()
}

// entry is the key as a file has it. Its strings are in JSON's form, which is
// YAML's as well, whatever they hold.
func (k *Key) entry() []byte {
	var b bytes.Buffer
	line := func(lead, name string, value any) {
		text, _ := json.Marshal(value) // strings and lists of them
		fmt.Fprintf(&b, "%s%s: %s\n", lead, name, text)
	}
	line("- ", "id", k.ID)
	line("  ", "secret", string(k.Secret))
	if k.SessionToken != "" {
		line("  ", "token", string(k.SessionToken))
	}
	line("  ", "name", k.Name)
	line("  ", "rights", k.Rights)
	if len(k.Runtimes) > 0 {
		line("  ", "runtimes", k.Runtimes)
	}
	return b.Bytes()
}
