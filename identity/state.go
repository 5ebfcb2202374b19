package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// state is what the file holds.
type state struct {
	Roles    map[string]*role   `json:"roles"`    // by name
	Policies map[string]*policy `json:"policies"` // by ARN
}

// role is an IAM role. Documents are JSON as they came.
type role struct {
	Name        string            `json:"name"`
	ID          string            `json:"id"` // AROA…
	Path        string            `json:"path"`
	Created     time.Time         `json:"created"`
	Trust       string            `json:"trust"`
	Description string            `json:"description,omitempty"`
	MaxSession  int               `json:"maxSession"`         // seconds
	Inline      map[string]string `json:"inline,omitempty"`   // documents by policy name
	Attached    []string          `json:"attached,omitempty"` // ARNs, in the order they came
	Tags        map[string]string `json:"tags,omitempty"`
}

// policy is a managed policy of the account. It has one version.
type policy struct {
	Name        string            `json:"name"`
	ID          string            `json:"id"` // ANPA…
	Path        string            `json:"path"`
	Created     time.Time         `json:"created"`
	Document    string            `json:"document"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// load reads the file, and removes what a process that died in a write left
// beside it.
func (s *Service) load() error {
	s.state = state{Roles: map[string]*role{}, Policies: map[string]*policy{}}
	if left, err := filepath.Glob(s.file + unfinished + "*"); err == nil {
		for _, file := range left {
			os.Remove(file)
		}
	}
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.state = state{}
	if err := json.Unmarshal(text, &s.state); err != nil {
		return fmt.Errorf("%s: %w", s.file, err)
	}
	if s.state.Roles == nil || s.state.Policies == nil {
		return fmt.Errorf("%s: has no roles or no policies; it is another program's file", s.file)
	}
	return nil
}

// unfinished is between the file's name and a random number.
const unfinished = ".tmp-"

// read runs f on the state as it is. What f finds may be kept, as it does not change.
func (s *Service) read(f func(*state) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(&s.state)
}

// change runs f on a copy of the state, which takes the state's place once it
// is on disk. An error of f changes nothing.
func (s *Service) change(f func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.Marshal(&s.state)
	if err != nil {
		return err
	}
	next := state{}
	if err := json.Unmarshal(text, &next); err != nil {
		return err
	}
	if err := f(&next); err != nil {
		return err
	}
	if err := writeFile(s.file, &next); err != nil {
		return err
	}
	s.state = next
	return nil
}

// writeFile puts the file in place at once and whole.
func writeFile(file string, from any) (err error) {
	text, err := json.MarshalIndent(from, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+unfinished)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
