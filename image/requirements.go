package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/isolde-run/isolde"
)

// requirements are the packages that a Python agent asks for: a requirements
// file with all the files in the folder that it refers to.
type requirements struct {
	name  string              // of the file they come from, for people
	file  string              // of the requirements file, in the folder
	count int                 // packages asked for directly
	texts map[string]string   // requirements and constraints files, by name in the folder
	lines map[string][]string // of texts, as the installer gets them
	local map[string]string   // archives: name in the folder to host file

	scripts bool // whether packages may run code of theirs
}

// readRequirements reads requirements.txt or, where there is none, the
// dependencies of pyproject.toml; nil if there are none.
func readRequirements(dir string, scripts bool) (*requirements, error) {
	r := &requirements{texts: map[string]string{}, lines: map[string][]string{}, local: map[string]string{}, scripts: scripts}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r.name, r.file = "requirements.txt", "requirements.txt"
	if _, err := root.Stat(r.file); err == nil {
		err = r.read(root, r.file)
		if err != nil || r.count == 0 {
			return nil, err
		}
		return r, nil
	}
	r.name, r.file = "pyproject.toml", ".isolde-requirements.txt"
	text, err := root.ReadFile(r.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	wanted, err := projectDependencies(string(text))
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	for _, line := range wanted {
		if err := r.line(root, r.file, line); err != nil {
			return nil, err
		}
	}
	r.texts[r.file] = strings.Join(wanted, "\n") + "\n"
	return r, nil
}

// projectDependencies reads [project].dependencies; the project itself is not
// installed, its files are the agent's code.
func projectDependencies(text string) ([]string, error) {
	var project struct {
		Project struct {
			Dependencies []string
			Dynamic      []string
		}
		Tool struct {
			Poetry struct{ Dependencies map[string]any }
		}
	}
	if _, err := toml.Decode(text, &project); err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "pyproject.toml: %v", err).WithHint("correct the file")
	}
	unread := slices.Contains(project.Project.Dynamic, "dependencies") ||
		len(project.Project.Dependencies) == 0 && len(project.Tool.Poetry.Dependencies) > 1 // python itself is one
	if unread {
		return nil, isolde.Errorf(isolde.CodeInvalid, "pyproject.toml lists its dependencies elsewhere than in [project].dependencies").
			WithHint("move them there, or export them to requirements.txt (uv export, poetry export)")
	}
	for _, d := range project.Project.Dependencies {
		if strings.ContainsAny(d, "\n\r") || strings.HasPrefix(strings.TrimSpace(d), "-") {
			return nil, isolde.Errorf(isolde.CodeInvalid, "pyproject.toml: dependency %q is not a requirement", d).WithHint("correct the file")
		}
	}
	return project.Project.Dependencies, nil
}

// maxRequirementFiles bounds how many files refer to each other.
const maxRequirementFiles = 50

// read takes in a requirements file of the folder.
func (r *requirements) read(root *os.Root, name string) error {
	if _, ok := r.texts[name]; ok {
		return nil
	}
	if configuresInstaller(name) {
		return isolde.Errorf(isolde.CodeInvalid, "%s refers to %s, which is no requirements file", r.name, name).WithHint("correct the name")
	}
	if len(r.texts) == maxRequirementFiles {
		return isolde.Errorf(isolde.CodeInvalid, "%s refers to more than %d files", r.name, maxRequirementFiles).
			WithHint("put the requirements into fewer files")
	}
	text, err := root.ReadFile(name)
	if err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "%s refers to %s, which cannot be read in the agent's folder", r.name, name).
			WithHint("add the file, or correct the name").WithCause(err)
	}
	r.texts[name] = string(text)
	for _, line := range requirementLines(string(text)) {
		if err := r.line(root, name, line); err != nil {
			return err
		}
	}
	return nil
}

// line takes in one line of a requirements file.
func (r *requirements) line(root *os.Root, from, line string) error {
	if err := r.checkLine(line); err != nil {
		return err
	}
	r.lines[from] = append(r.lines[from], line)
	if strings.HasPrefix(line, "-") {
		options, err := r.options(line)
		if err != nil {
			return err
		}
		for _, o := range options {
			if err := r.option(root, from, o); err != nil {
				return err
			}
		}
		return nil
	}
	r.count++
	if repositoryRE.MatchString(line) && !r.scripts {
		return isolde.Errorf(isolde.CodeInvalid, "%s: %q comes from a repository and must be built", r.name, line).
			WithHint("use a published version, or %s", allowScripts)
	}
	if name := localName(line); name != "" {
		return r.localFiles(root, name)
	}
	return nil
}

// option takes in what an option names.
func (r *requirements) option(root *os.Root, from string, o option) error {
	switch {
	case slices.Contains(buildOptions, o.name):
		return isolde.Errorf(isolde.CodeInvalid, "%s: %q asks for an editable install, which an image cannot have", r.name, o.name+" "+o.value).
			WithHint("leave the line out: the files of the folder are the agent's code already")
	case slices.Contains(linksOptions, o.name):
		return r.localFiles(root, o.value)
	case !slices.Contains(fileOptions, o.name):
		return nil
	case strings.Contains(o.value, "://") || path.IsAbs(o.value):
		// What it holds would be part of no key, and nobody has looked at it.
		return isolde.Errorf(isolde.CodeInvalid, "%s refers to %s, which is not in the agent's folder", r.name, o.value).
			WithHint("put a copy of it into the folder")
	}
	return r.read(root, path.Join(path.Dir(from), o.value))
}

// repositoryRE tells a requirement that is cloned.
var repositoryRE = regexp.MustCompile(`(^|[\s@])(git|hg|svn|bzr)\+`)

// localFiles takes in an archive in the folder, or a folder of archives.
func (r *requirements) localFiles(root *os.Root, name string) error {
	if strings.Contains(name, "://") {
		return nil
	}
	name = path.Clean(name)
	if configuresInstaller(name) {
		return isolde.Errorf(isolde.CodeInvalid, "%s names %s, which is no package", r.name, name).WithHint("correct the name")
	}
	info, err := root.Stat(name)
	if err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "%s names %s, which cannot be read in the agent's folder", r.name, name).
			WithHint("add the file, or correct the name").WithCause(err)
	}
	if info.IsDir() && !r.scripts && (exists(filepath.Join(root.Name(), name, "pyproject.toml")) || exists(filepath.Join(root.Name(), name, "setup.py"))) {
		return isolde.Errorf(isolde.CodeInvalid, "%s names the folder %s, which must be built", r.name, name).
			WithHint("leave the line out and import its files, which are the agent's code already, or %s", allowScripts)
	}
	return fs.WalkDir(root.FS(), name, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && neverNeeded[d.Name()] {
			return fs.SkipDir
		}
		if (d.Type().IsRegular() || !info.IsDir()) && !configuresInstaller(file) {
			r.local[file] = filepath.Join(root.Name(), filepath.FromSlash(file))
		}
		return nil
	})
}

// sum is a hash over all that decides what is installed.
func (r *requirements) sum() string {
	t := tree{}
	for name, text := range r.texts {
		t.bytes("text/"+name, []byte(text), 0o644)
	}
	for name, file := range r.local {
		t.file("local/"+name, file, 0o644)
	}
	sum, err := hashTree(t)
	if err != nil {
		return err.Error() // the copy, which reads the same files, will tell
	}
	return sum
}

// writeTo lays the files out in a new folder, for the installer to run in.
func (r *requirements) writeTo(dir string) error {
	for name := range r.texts {
		text := strings.Join(r.lines[name], "\n") + "\n"
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, from := range r.local {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := copyFile(from, file, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// countPackages is "1 package" or "n packages".
func countPackages(n int) string {
	if n == 1 {
		return "1 package"
	}
	return fmt.Sprintf("%d packages", n)
}
