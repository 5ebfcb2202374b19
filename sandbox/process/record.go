package process

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/isolde-run/isolde/sandbox"
)

// record is what a new server must know to find a sandbox again. It is
// written once, when the agent runs.
type record struct {
	ID     sandbox.ID
	Labels map[string]string
	Boot   string   // bootID; process ids mean nothing on another
	Agent  identity // the agent's process
	Init   identity // the first process of its namespace; zero if there is none
	Env    []string // the agent's environment
	Dir    string   // its working directory
}

// identity tells a process from any other with the same number before or
// after it.
type identity struct {
	PID   int
	Start string // when it started, in the system's own form
}

func newRecord(spec sandbox.Spec, dir string) record {
	// A HostRoot may name the user's own home, where credentials and
	// configuration are; one that does not gets a home of its own.
	env := merge(spec.Env, []string{"HOME=" + filepath.Join(dir, "home")},
		spec.Root.Host.Env, []string{"TMPDIR=" + filepath.Join(dir, "tmp")})
	return record{ID: spec.ID, Labels: spec.Labels, Boot: bootID(), Env: env, Dir: filepath.Join(dir, "work")}
}

const recordName = "sandbox.json"

// write makes the record appear as a whole. It is for its owner only, since
// the environment may hold keys.
func (r record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	path := filepath.Join(dir, recordName)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return os.Rename(path+".new", path)
}

func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read record: %w", err)
	}
	return r, nil
}

// merge joins environments; the last one that sets a variable wins, and keeps
// the place of the first.
func merge(envs ...[]string) []string {
	var all []string
	index := make(map[string]int)
	for _, env := range envs {
		for _, kv := range env {
			if i, ok := index[key(kv)]; ok {
				all[i] = kv
				continue
			}
			index[key(kv)] = len(all)
			all = append(all, kv)
		}
	}
	return all
}

func key(kv string) string {
	k, _, _ := strings.Cut(kv, "=")
	return k
}

func lookUpEnv(env []string, name string) (string, bool) {
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}
