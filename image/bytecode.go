package image

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/isolde-run/isolde"
)

// A root is read-only and its files have one time, so every session would
// compile all it imports anew. Bytecode whose validity does not depend on the
// source's time is made with the image instead.
//
// compilePython reads triples of NUL-ended fields: the source, the bytecode
// file, and the name that tracebacks show. Sources that do not compile are
// told, one JSON object a line; most are templates that nobody imports.
const compilePython = `
import sys
sys.path = [p for p in sys.path if p]
import json, py_compile, warnings
warnings.simplefilter("ignore")
fields = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
for source, to, name in zip(*[iter(fields)] * 3):
    try:
        py_compile.compile(source, to, name, True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError as e:
        error = e.exc_value
        line = getattr(error, "lineno", None) or 0
        print(json.dumps({"name": name, "line": line, "message": "%s: %s" % (e.exc_type_name, getattr(error, "msg", error))}))
    except Exception as e:
        print(json.dumps({"name": name, "line": 0, "message": "%s: %s" % (type(e).__name__, e)}))
`

// sourceFile is one file to compile.
type sourceFile struct {
	from, to string // host files: the source, the bytecode
	name     string // the source in the image
}

// compileFailure is a source that is not valid Python.
type compileFailure struct {
	Name    string `json:"name"`
	Line    int    `json:"line"` // 0 if not known
	Message string `json:"message"`
}

// compileGroups is how many interpreters compile. Bytecode depends a little on
// what its interpreter compiled before, so the split must depend on nothing but
// the files.
const compileGroups = 8

func (s *Store) compile(ctx context.Context, info pythonInfo, files []sourceFile) ([]compileFailure, error) {
	slices.SortFunc(files, func(a, b sourceFile) int { return strings.Compare(a.name, b.name) })
	var groups [compileGroups]strings.Builder
	for i, f := range files {
		n := i % compileGroups
		if len(files) < 4*compileGroups {
			n = 0
		}
		groups[n].WriteString(f.from + "\x00" + f.to + "\x00" + f.name + "\x00")
	}
	empty, err := os.MkdirTemp(s.tmp, "cwd-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(empty)
	var outputs [compileGroups]string
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := range groups {
		if groups[i].Len() == 0 {
			continue
		}
		group.Go(func() (err error) {
			outputs[i], err = s.runTool(ctx, tool{
				dir:   empty,
				args:  []string{info.Base, "-s", "-c", compilePython},
				env:   []string{"PYTHONHASHSEED=0"},
				stdin: strings.NewReader(groups[i].String()),
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return compileFailures(strings.Join(outputs[:], ""))
}

func compileFailures(output string) (failures []compileFailure, err error) {
	for line := range strings.Lines(output) {
		var f compileFailure
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return nil, err
		}
		failures = append(failures, f)
	}
	return failures, nil
}

// addBytecode compiles what is Python in t into tmp, and adds it.
func (s *Store) addBytecode(ctx context.Context, info pythonInfo, t tree, tmp string) error {
	var files []sourceFile
	for name, e := range t {
		if strings.HasSuffix(name, ".py") && e.from != "" {
			files = append(files, sourceFile{e.from, filepath.Join(tmp, info.bytecodeFile(name)), "/" + name})
		}
	}
	if _, err := s.compile(ctx, info, files); err != nil {
		return err
	}
	return t.folder("", tmp, 0, nil)
}

// maxSource bounds the Python files that are compiled: that takes a hundred
// times their size of memory. Longer ones are data, and compiled if imported.
const maxSource = 4 << 20

// compileFolder compiles a folder in place, which will be at the given name in
// the image. Code that starts the agent must compile.
func (b *build) compileFolder(ctx context.Context, info pythonInfo, dir, at string) error {
	var files []sourceFile
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(file, ".py") {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() > maxSource {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{file, info.bytecodeFile(file), path.Join(at, filepath.ToSlash(rel))})
		return nil
	})
	if err != nil {
		return err
	}
	failures, err := b.compile(ctx, info, files)
	if err != nil {
		return err
	}
	for _, f := range failures {
		name := strings.TrimPrefix(f.Name, "/"+codeDir+"/")
		if slices.Contains(b.src.Entrypoint, name) {
			return isolde.Errorf(isolde.CodeInvalid, "the agent is not valid Python: %s:%d: %s", name, f.Line, f.Message).
				WithHint("Python %s compiles it; see that line", info.Version).WithCause(errors.New(f.Message))
		}
	}
	return nil
}
