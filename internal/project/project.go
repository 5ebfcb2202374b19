// Package project reads isolde.yaml, the file that makes a folder an agent,
// and finds what the file leaves out: the name from the folder's name, the
// entry point from the files in it.
//
// The file is read strictly. An unknown key, a wrong type or a value out of
// bounds is an [isolde.Error] with CodeInvalid whose message begins with
// file:line:column. docs/CLI.md describes every key.
package project

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// File is the name of the project file.
const File = "isolde.yaml"

// maxFile bounds the project file; what is larger is not one.
const maxFile = 1 << 20

// Load reads the folder's isolde.yaml and completes it. getenv answers
// ${VAR} in the environment; an empty answer counts as not set. A folder
// without the file is CodeNotConfigured.
func Load(folder string, getenv func(string) string) (operator.Deployment, error) {
	path := filepath.Join(folder, File)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return operator.Deployment{}, missing(folder)
	}
	if err != nil {
		return operator.Deployment{}, isolde.Errorf(isolde.CodeInvalid, "cannot read %s: %w", path, err)
	}
	p, err := parse(path, data, getenv)
	if err != nil {
		return operator.Deployment{}, err
	}
	return p.complete(folder)
}

// LoadSettings reads what the folder's isolde.yaml says beside what it runs,
// for a caller that knows that already. found tells whether the file was
// there; a folder needs none.
func LoadSettings(folder string, getenv func(string) string) (d operator.Deployment, found bool, err error) {
	path := filepath.Join(folder, File)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !isFolder(folder) {
			return d, false, missing(folder)
		}
		return d, false, nil
	}
	if err != nil {
		return d, true, isolde.Errorf(isolde.CodeInvalid, "cannot read %s: %w", path, err)
	}
	p, err := parse(path, data, getenv)
	if err != nil {
		return d, true, err
	}
	d = p.Deployment
	d.Spec.Entrypoint, d.Spec.Language = nil, ""
	if d.Name == "" {
		d.Name = DefaultName(folder)
	}
	return d, true, nil
}

// LoadOrDetect is [Load], and for a folder without isolde.yaml what [Detect]
// finds. found tells whether the file was there.
func LoadOrDetect(folder string, getenv func(string) string) (d operator.Deployment, found bool, err error) {
	d, err = Load(folder, getenv)
	if isolde.CodeOf(err) != isolde.CodeNotConfigured {
		return d, true, err
	}
	if _, ok := Detect(folder); !ok {
		return d, false, err
	}
	d, err = parsed{path: filepath.Join(folder, File)}.complete(folder)
	return d, false, err
}

// Name is the agent's name in the folder's isolde.yaml, and empty when there
// is no such file. Client commands use it to know which agent is meant, so
// the variables that the environment refers to need not be set.
func Name(folder string) (string, error) {
	path := filepath.Join(folder, File)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", isolde.Errorf(isolde.CodeInvalid, "cannot read %s: %w", path, err)
	}
	p, err := parse(path, data, func(name string) string { return name })
	if err == nil && p.Name == "" {
		return DefaultName(folder), nil
	}
	return p.Name, err
}

// DefaultName makes an agent's name from the folder's.
func DefaultName(folder string) string {
	if abs, err := filepath.Abs(folder); err == nil {
		folder = abs
	}
	return isolde.SuggestName(filepath.Base(folder))
}

func missing(folder string) error {
	if !isFolder(folder) {
		return isolde.Errorf(isolde.CodeInvalid, "%q is not a folder", folder)
	}
	hint := "write one with: isolde init"
	if folder != "." {
		hint += " " + folder
	}
	return isolde.Errorf(isolde.CodeNotConfigured, "there is no %s in %q", File, folder).WithHint("%s", hint)
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, errors.New("it is larger than 1 MiB")
	}
	return os.ReadFile(path)
}

// complete fills what the file left out, from the folder.
func (p parsed) complete(folder string) (operator.Deployment, error) {
	d := p.Deployment
	if d.Name == "" {
		d.Name = DefaultName(folder)
	}
	if p.image != "" {
		var err error
		d.Spec.Artifact, err = ImageArtifact(p.image, folder)
		return d, err
	}
	if len(d.Spec.Entrypoint) > 0 {
		return d, p.checkEntrypoint(folder)
	}
	entry, ok := Detect(folder)
	if !ok {
		return d, isolde.Errorf(isolde.CodeInvalid, "%s: there is no entrypoint, and none of %s is in the folder",
			p.path, strings.Join(candidates[:3], ", ")).WithHint("add a line such as: entrypoint: my_agent.py")
	}
	d.Spec.Entrypoint = []string{entry}
	return d, nil
}

// checkEntrypoint catches a misspelt entry point before anything is uploaded.
// Only source files are looked for: other entry points may be commands of the
// image, or come out of the build.
func (p parsed) checkEntrypoint(folder string) error {
	i := slices.IndexFunc(p.Spec.Entrypoint, isSource)
	if i < 0 {
		return nil
	}
	entry := p.Spec.Entrypoint[i]
	if filepath.IsAbs(entry) || !filepath.IsLocal(entry) {
		return isolde.Errorf(isolde.CodeInvalid, "%s: entrypoint %q must be a path within the folder", p.at, entry)
	}
	if _, err := os.Stat(filepath.Join(folder, entry)); err == nil {
		return nil
	}
	err := isolde.Errorf(isolde.CodeInvalid, "%s: entrypoint %q is not in the folder", p.at, entry)
	if near := nearest(entry, sources(folder)); near != "" {
		return err.WithHint("did you mean %s?", near)
	}
	return err.WithHint("name the file that starts the agent")
}
