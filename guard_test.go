package isolde_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/isolde-run/isolde"

// layers are the packages on the path of an invocation and beside it, lowest
// first. A package imports only those of lines above its own; the packages of
// one line do not know one another, but for the drivers and their seam.
var layers = [][]string{
	{"."},
	{"sandbox", "sandbox/volume", "network", "image/erofs", "ws", "http1", "shell"},
	{"sandbox/terminal"},
	{"auth", "image", "objects", "sandbox/gvisor", "sandbox/process", "sqlite", "telemetry", "console"},
	{"auth/sigv4", "auth/jwt", "auth/spool", "identity", "session"},
	{"auth/gate", "catalog"},
	{"gateway"},
	{"agentcore", "operator"},
	{"server", "internal/project"},
	{"internal/cli"},
	{"cmd/isolde"},
}

// TestImportsGoDown keeps the order of ARCHITECTURE.md.
func TestImportsGoDown(t *testing.T) {
	layer := make(map[string]int)
	for i, names := range layers {
		for _, name := range names {
			layer[name] = i
		}
	}
	allowed := map[[2]string]bool{ // within a line
		{"sandbox", "."}: true,
	}
	for _, dir := range packageDirs(t) {
		if strings.HasPrefix(dir, "test") || strings.HasPrefix(dir, "bench") || strings.HasPrefix(dir, "internal/need") || strings.HasPrefix(dir, "sandbox/sandboxtest") {
			continue // tests see everything
		}
		at, ok := layer[dir]
		if !ok {
			t.Errorf("package %s has no place in the order: add it to layers, and to ARCHITECTURE.md", dir)
			continue
		}
		p, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		for _, path := range p.Imports {
			name, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			if name = strings.TrimPrefix(name, "/"); name == "" {
				name = "."
			}
			if below, ok := layer[name]; (!ok || below >= at) && !allowed[[2]string{dir, name}] {
				t.Errorf("%s imports %s, which is not below it", dir, name)
			}
		}
	}
}

// TestAgentNeedsNothing keeps the SDK's module free of others: every agent
// written with it would take them on.
func TestAgentNeedsNothing(t *testing.T) {
	text, err := os.ReadFile("agent/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "require") {
		t.Errorf("agent/go.mod requires other modules:\n%s", text)
	}
}

// TestPackagesAreDocumented wants a package comment everywhere and a comment
// on every exported name.
func TestPackagesAreDocumented(t *testing.T) {
	for _, dir := range packageDirs(t) {
		fset := token.NewFileSet()
		documented := false
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		tests := true
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			tests = false
			f, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc.Text() != ""
			library := f.Name.Name != "main"
			if library {
				for _, name := range undocumented(f) {
					t.Errorf("%s: %s has no comment", fset.Position(name.Pos()), name.Name)
				}
			}
		}
		if !documented && !tests {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// undocumented lists the exported functions, methods and types of a file
// without a comment. A method needs none where its receiver is not exported.
func undocumented(f *ast.File) []*ast.Ident {
	var out []*ast.Ident
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc.Text() == "" && (d.Recv == nil || exportedReceiver(d.Recv)) {
				out = append(out, d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc.Text() == "" && s.Doc.Text() == "" {
					out = append(out, s.Name)
				}
			}
		}
	}
	return out
}

func exportedReceiver(recv *ast.FieldList) bool {
	exported := false
	ast.Inspect(recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			exported = id.IsExported()
			return false
		}
		return true
	})
	return exported
}

// TestNoPathsOfAMachine keeps paths of a developer's machine and the hosts of
// package registries out of the tree.
func TestNoPathsOfAMachine(t *testing.T) {
	forbidden := []string{"/work/" + "main", "/root/" + ".pyenv", "proxy." + "golang.org", "registry." + "npmjs.org", "files." + "pythonhosted.org", "pypi." + "org"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipDir(path, d.Name()) || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || path == ".git" { // which, in a worktree, is a file that names the tree
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, s := range forbidden {
			if strings.Contains(string(text), s) {
				t.Errorf("%s names %s", path, s)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func skipDir(path, name string) bool {
	return path != "." && (name == "bin" && path == "bin" || strings.HasPrefix(name, ".") && name != ".ci" || name == "__pycache__")
}

// packageDirs lists the folders of this module that hold Go files.
func packageDirs(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if skipDir(path, d.Name()) || d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "templates" {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != "." {
			return filepath.SkipDir // a module of its own
		}
		if files, _ := filepath.Glob(filepath.Join(path, "*.go")); len(files) > 0 {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}
