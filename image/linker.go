package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// linker finds the shared libraries that a program of this machine needs, as
// its dynamic loader does, and puts them where the same loader finds them in
// an image.
type linker struct {
	tree tree
	dirs []string          // searched for libraries, in order
	at   string            // the folder in the image that libraries go to
	done map[string]bool   // host files already followed
	libs map[string]string // soname to host file
}

// newLinker makes a linker that adds to t.
func newLinker(t tree) *linker {
	l := &linker{tree: t, done: map[string]bool{}, libs: map[string]string{}}
	l.dirs = append(libraryDirs("/etc/ld.so.conf", 0), "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
	return l
}

// libraryDirs reads the loader's configuration.
func libraryDirs(file string, depth int) []string {
	text, err := os.ReadFile(file)
	if err != nil || depth > 4 {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "include":
			pattern := fields[1]
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(file), pattern)
			}
			included, _ := filepath.Glob(pattern)
			for _, f := range included {
				dirs = append(dirs, libraryDirs(f, depth+1)...)
			}
		case len(fields) == 1 && filepath.IsAbs(fields[0]):
			dirs = append(dirs, fields[0])
		}
	}
	return dirs
}

// add adds what a program or a library needs, but not the file itself: its
// loader, and its libraries with theirs. A library that is missing here is an
// error that names it.
func (l *linker) add(file string) error { return l.follow(file, nil) }

// addKnown adds a library by its name, if this machine has it.
func (l *linker) addKnown(name string, like string) error {
	f, err := elf.Open(like)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.need(name, like, f, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// follow walks DT_NEEDED. inherited are the search folders of the old kind
// (DT_RPATH), which hold for everything further down.
func (l *linker) follow(file string, inherited []string) error {
	if l.done[file] {
		return nil
	}
	l.done[file] = true
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	if loader := interpreter(f); loader != "" {
		if err := l.addLoader(loader); err != nil {
			return err
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	runpath := searchFolders(f, elf.DT_RUNPATH, file)
	search := runpath
	if len(runpath) == 0 {
		inherited = append(searchFolders(f, elf.DT_RPATH, file), inherited...)
		search = inherited
	}
	for _, name := range names {
		if err := l.need(name, file, f, append(slices.Clone(search), inherited...)); err != nil {
			return err
		}
	}
	return nil
}

// need adds the library that file, of the same kind as f, wants by name.
func (l *linker) need(name, file string, f *elf.File, search []string) error {
	if l.libs[name] != "" || strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "linux-vdso") {
		return nil
	}
	found := ""
	if strings.Contains(name, "/") {
		search, name = []string{filepath.Dir(name)}, filepath.Base(name)
	}
	for _, dir := range append(slices.Clone(search), l.dirs...) {
		if candidate := filepath.Join(dir, name); sameKind(candidate, f) {
			found = candidate
			break
		}
	}
	if found == "" {
		return fmt.Errorf("%s needs the shared library %s, which this machine lacks: %w", file, name, fs.ErrNotExist)
	}
	real, err := filepath.EvalSymlinks(found)
	if err != nil {
		return err
	}
	l.libs[name] = real
	l.tree.file(path.Join(l.folder(f), name), real, 0o755)
	return l.follow(real, nil)
}

// folder is where libraries of f's kind go: where this machine's loader has
// its C library, which it searches without being told to.
func (l *linker) folder(f *elf.File) string {
	if l.at == "" {
		l.at = "lib"
		for _, dir := range l.dirs {
			if sameKind(filepath.Join(dir, "libc.so.6"), f) {
				l.at = strings.TrimPrefix(dir, "/")
				break
			}
		}
	}
	return l.at
}

func (l *linker) addLoader(loader string) error {
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return err
	}
	l.tree.file(strings.TrimPrefix(path.Clean(loader), "/"), real, 0o755)
	return nil
}

// interpreter is the dynamic loader a program asks for.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil {
				return strings.TrimRight(string(b), "\x00")
			}
		}
	}
	return ""
}

func searchFolders(f *elf.File, tag elf.DynTag, file string) []string {
	values, err := f.DynString(tag)
	if err != nil {
		return nil
	}
	origin := strings.NewReplacer("$ORIGIN", filepath.Dir(file), "${ORIGIN}", filepath.Dir(file))
	var dirs []string
	for _, value := range values {
		for dir := range strings.SplitSeq(value, ":") {
			if dir = origin.Replace(dir); filepath.IsAbs(dir) {
				dirs = append(dirs, filepath.Clean(dir))
			}
		}
	}
	return dirs
}

// sameKind tells whether a file is a library for f's machine.
func sameKind(file string, f *elf.File) bool {
	lib, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer lib.Close()
	return lib.Machine == f.Machine && lib.Class == f.Class
}
