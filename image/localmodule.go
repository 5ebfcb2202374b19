package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde"
)

// localModules is where, in a packed folder, the Go modules are that its
// go.mod takes from other folders of the same machine.
const localModules = ".isolde-modules"

// localModule is such a module.
type localModule struct {
	dir string // of the module
	at  string // its folder in the packed one
}

// takeLocalModules finds the folders outside of dir that its go.mod replaces
// modules with, as in
//
//	replace example.com/lib => ../lib
//
// and returns the go.mod that finds them in the packed folder instead. One
// folder alone would not compile elsewhere.
func takeLocalModules(dir string, mod []byte) (rewritten []byte, modules []localModule, err error) {
	block := false
	for line := range bytes.Lines(mod) {
		code, _, _ := strings.Cut(string(line), "//")
		words := strings.Fields(code)
		switch {
		case len(words) == 0:
		case words[0] == "replace" && len(words) == 2 && words[1] == "(":
			block = true
		case words[0] == ")":
			block = false
		case (block || words[0] == "replace") && len(words) >= 3 && words[len(words)-2] == "=>":
			last := words[len(words)-1] // without a version it is a folder
			target, err := strconv.Unquote(last)
			if err != nil {
				target = last
			}
			if filepath.IsLocal(target) {
				break
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(dir, target)
			}
			if _, err := os.Stat(filepath.Join(target, "go.mod")); err != nil {
				return nil, nil, isolde.Errorf(isolde.CodeInvalid, "go.mod replaces a module with %q, which is no module", last).WithCause(err)
			}
			m := localModule{target, path.Join(localModules, strconv.Itoa(len(modules)+1))}
			modules = append(modules, m)
			i := strings.LastIndex(code, last)
			line = fmt.Appendf(nil, "%s./%s\n", code[:i], m.at)
		}
		rewritten = append(rewritten, line...)
	}
	return rewritten, modules, nil
}

// packGoMod writes the folder's go.mod, and returns the modules to pack beside it.
func packGoMod(out *tar.Writer, dir string, e sourceEntry) ([]localModule, error) {
	mod, err := os.ReadFile(e.file)
	if err != nil {
		return nil, err
	}
	mod, modules, err := takeLocalModules(dir, mod)
	if err != nil {
		return nil, err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: int64(e.mode.Perm()), ModTime: epoch, Size: int64(len(mod))}
	if err := out.WriteHeader(header); err != nil {
		return nil, err
	}
	_, err = out.Write(mod)
	return modules, err
}

// packLocalModules writes the modules, without the tests and the modules
// within them.
func packLocalModules(out *tar.Writer, modules []localModule) error {
	for i, m := range modules {
		folders := []string{m.at}
		if i == 0 {
			folders = []string{localModules, m.at}
		}
		for _, name := range folders {
			if err := packEntry(out, sourceEntry{name: name, mode: os.ModeDir | 0o755}); err != nil {
				return err
			}
		}
		ig, err := readIgnore(m.dir)
		if err != nil {
			return err
		}
		skips := func(name string, isDir bool) bool {
			if isDir {
				_, err := os.Stat(filepath.Join(m.dir, filepath.FromSlash(name), "go.mod"))
				return err == nil || path.Base(name) == "testdata" || ig.skips(name, true)
			}
			return strings.HasSuffix(name, "_test.go") || ig.skips(name, false)
		}
		err = walkFolder(m.dir, skips, func(e sourceEntry) error {
			e.name = path.Join(m.at, e.name)
			return packEntry(out, e)
		})
		if err != nil {
			return fmt.Errorf("pack the module in %s: %w", m.dir, err)
		}
	}
	return nil
}
