package image

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// detect finds the language of a source, from what the caller said, the entry
// point and the files there, fills in an entry point where one is obvious, and
// checks both.
func detect(src *Source) (language, error) {
	files, err := topFiles(src.Dir)
	if err != nil {
		return nil, err
	}
	if src.Language == "" {
		if src.Language, err = guessLanguage(src, files); err != nil {
			return nil, err
		}
	}
	switch src.Language {
	case isolde.LanguagePython:
		return &python{}, requireEntry(src, files, pythonEntry, "agent.py", "main.py", "app.py")
	case isolde.LanguageNode:
		return &node{}, requireEntry(src, files, nodeEntry, "agent.ts", "agent.mjs", "agent.js", "index.ts", "index.mjs", "index.js")
	case isolde.LanguageGo:
		return &golang{}, nil
	case isolde.LanguageCommand:
		return newCommand(src, files)
	default:
		return nil, isolde.Errorf(isolde.CodeInvalid, "language %q is not known", src.Language).
			WithHint("use python, node, go or command, or leave it out")
	}
}

// topFiles lists what is directly in the folder and part of the agent.
func topFiles(dir string) ([]string, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, isolde.Errorf(isolde.CodeInvalid, "there is no folder %s", dir).WithHint("isolde init makes one")
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s is a file; an agent is built from a folder", dir).
			WithHint("name the folder that it is in")
	}
	var names []string
	err = walkSource(dir, func(e sourceEntry) error {
		if !strings.Contains(e.name, "/") {
			names = append(names, e.name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, isolde.Errorf(isolde.CodeInvalid, "the folder %s holds no files of an agent", dir).
			WithHint("isolde init makes an agent to begin with")
	}
	return names, nil
}

func pythonEntry(name string) bool { return strings.HasSuffix(name, ".py") }

func nodeEntry(name string) bool {
	return slices.Contains([]string{".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"}, path.Ext(name))
}

func guessLanguage(src *Source, files []string) (isolde.Language, error) {
	has := func(match func(string) bool) bool { return slices.ContainsFunc(files, match) }
	named := func(names ...string) bool {
		return has(func(f string) bool { return slices.Contains(names, f) })
	}
	for _, arg := range src.Entrypoint {
		switch {
		case pythonEntry(arg):
			return isolde.LanguagePython, nil
		case nodeEntry(arg):
			return isolde.LanguageNode, nil
		case strings.HasSuffix(arg, ".go"):
			return isolde.LanguageGo, nil
		}
	}
	first := ""
	if len(src.Entrypoint) > 0 {
		first = path.Clean(src.Entrypoint[0])
		if info, err := os.Stat(filepath.Join(src.Dir, filepath.FromSlash(first))); err == nil && info.Mode().IsRegular() {
			return isolde.LanguageCommand, nil
		}
	}
	goFile := func(f string) bool { return strings.HasSuffix(f, ".go") }
	switch {
	case named("go.mod") || first == "." && has(goFile):
		return isolde.LanguageGo, nil
	case named("requirements.txt", "pyproject.toml") || named("agent.py", "main.py", "app.py"):
		return isolde.LanguagePython, nil
	case named("package.json") || named("agent.ts", "agent.mjs", "agent.js"):
		return isolde.LanguageNode, nil
	case has(goFile):
		return isolde.LanguageGo, nil
	case has(pythonEntry):
		return isolde.LanguagePython, nil
	case first != "":
		return "", missingEntry(src, first, files)
	default:
		return "", isolde.Errorf(isolde.CodeInvalid, "cannot tell what starts the agent in %s: it holds %s", src.Dir, list(files, 6)).
			WithHint("set entrypoint in isolde.yaml to the file that starts it, e.g. entrypoint: agent.py")
	}
}

// requireEntry checks that the entry point names a file of the language, and
// takes the first of usual that is there when the caller names none.
func requireEntry(src *Source, files []string, matches func(string) bool, usual ...string) error {
	if len(src.Entrypoint) == 0 {
		for _, name := range usual {
			if slices.Contains(files, name) {
				src.Entrypoint = []string{name}
				return nil
			}
		}
		return isolde.Errorf(isolde.CodeInvalid, "no entry point is set, and the folder %s has none of %s", src.Dir, strings.Join(usual, ", ")).
			WithHint("set entrypoint in isolde.yaml to the file that starts the agent%s", candidates(src, "", files, matches))
	}
	for _, arg := range src.Entrypoint {
		if !matches(arg) {
			continue
		}
		name, err := inSource(arg)
		if err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(src.Dir, filepath.FromSlash(name)))
		if err != nil || !info.Mode().IsRegular() {
			return missingEntry(src, name, files)
		}
		return nil
	}
	return nil
}

func missingEntry(src *Source, name string, files []string) error {
	sameKind := func(f string) bool { return path.Ext(f) == path.Ext(name) }
	return isolde.Errorf(isolde.CodeInvalid, "entry point %s: there is no such file in the folder", name).
		WithHint("set entrypoint in isolde.yaml to a file that exists%s", candidates(src, name, files, sameKind))
}

// candidates lists what the caller may have meant, nearest first.
func candidates(src *Source, name string, files []string, matches func(string) bool) string {
	var found []string
	// A folder that cannot be read has no candidates.
	_ = walkSource(src.Dir, func(e sourceEntry) error {
		if e.mode.IsRegular() && matches(e.name) && strings.Count(e.name, "/") < 3 {
			found = append(found, e.name)
		}
		return nil
	})
	if len(found) == 0 {
		return "; the folder holds " + list(files, 6)
	}
	slices.SortStableFunc(found, func(a, b string) int {
		return distance(path.Base(a), path.Base(name)) - distance(path.Base(b), path.Base(name))
	})
	return "; there is " + list(found, 4)
}

// list joins at most n names.
func list(names []string, n int) string {
	if len(names) > n {
		return strings.Join(names[:n], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// distance counts the edits between two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
