package image

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/isolde-run/isolde"
)

// ignoreFile names, in an agent's folder, what is no part of it.
const ignoreFile = ".isoldeignore"

// neverNeeded are names that no build wants, wherever they are: version
// control, what is installed anew, and caches.
var neverNeeded = map[string]bool{
	".git": true, ".hg": true, ".svn": true, ".jj": true,
	".venv": true, "venv": true, "node_modules": true, "__pycache__": true, ".isolde": true,
	".mypy_cache": true, ".pytest_cache": true, ".ruff_cache": true, ".tox": true, ".nox": true,
	".cache": true, ".npm": true, ".idea": true, ".vscode": true, ".DS_Store": true,
}

// ignore decides what of a folder is left out.
type ignore struct{ rules []rule }

// rule is one line of an ignore file, as in a .gitignore: a pattern with a
// slash holds from the folder itself on, one without holds for every name; a
// slash at the end means directories; "!" takes back; "**" is any number of
// folders.
type rule struct {
	pattern  []string // path elements
	anchored bool
	dirs     bool
	negate   bool
}

// readIgnore reads the ignore file of a folder; none is no rules.
func readIgnore(dir string) (ignore, error) {
	f, err := os.Open(filepath.Join(dir, ignoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ignore{}, nil
	}
	if err != nil {
		return ignore{}, err
	}
	defer f.Close()
	var ig ignore
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		r, ok, err := parseRule(lines.Text())
		if err != nil {
			return ignore{}, isolde.Errorf(isolde.CodeInvalid, "%s:%d: pattern %q: %v", ignoreFile, n, lines.Text(), err)
		}
		if ok {
			ig.rules = append(ig.rules, r)
		}
	}
	if err := lines.Err(); err != nil {
		return ignore{}, fmt.Errorf("read %s: %w", ignoreFile, err)
	}
	return ig, nil
}

func parseRule(line string) (r rule, ok bool, err error) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return rule{}, false, nil
	}
	line, r.negate = strings.CutPrefix(line, "!")
	line, r.dirs = strings.CutSuffix(line, "/")
	r.anchored = strings.Contains(line, "/")
	r.pattern = strings.Split(strings.TrimPrefix(line, "/"), "/")
	for _, element := range r.pattern {
		if _, err := path.Match(element, ""); err != nil {
			return rule{}, false, err
		}
	}
	return r, line != "", nil
}

// skips tells whether an entry, by its name in the folder, is left out.
func (ig ignore) skips(name string, dir bool) bool {
	if neverNeeded[path.Base(name)] {
		return true
	}
	skip := false
	elements := strings.Split(name, "/")
	for _, r := range ig.rules {
		if r.matches(elements, dir) {
			skip = !r.negate
		}
	}
	return skip
}

func (r rule) matches(name []string, dir bool) bool {
	if r.dirs && !dir {
		return false
	}
	if !r.anchored {
		name = name[len(name)-1:]
	}
	return matchElements(r.pattern, name)
}

func matchElements(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for skip := range len(name) + 1 {
				if matchElements(pattern[1:], name[skip:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], name[0]); !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}
