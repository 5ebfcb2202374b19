package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// The project files of AWS's two tools, relative to a project's folder.
const (
	ToolkitFile = ".bedrock_agentcore.yaml"  // of bedrock-agentcore-starter-toolkit
	CLIFile     = "agentcore/agentcore.json" // of @aws/agentcore
)

// Foreign is an agent that a project file of AWS's tools describes.
type Foreign struct {
	operator.Deployment
	File     string   // that describes it
	Folder   string   // to deploy, with the agent's files
	Warnings []string // what the file asks for that Isolde does not do, one sentence each
}

// LoadForeign reads the project file of AWS's starter toolkit or of its CLI in
// a folder. agent picks one of several by name; empty means the file's default.
// In a folder with both, that of the CLI counts, which has replaced the
// toolkit. It returns nil for a folder with neither.
func LoadForeign(folder, agent string) (*Foreign, error) {
	for _, known := range []struct {
		file string
		read func(*foreignReader, map[string]any, string) (*Foreign, error)
	}{
		{CLIFile, (*foreignReader).cli},
		{ToolkitFile, (*foreignReader).toolkit},
	} {
		path := filepath.Join(folder, filepath.FromSlash(known.file))
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, isolde.Errorf(isolde.CodeInvalid, "cannot read %s: %w", path, err)
		}
		var doc map[string]any
		if err := yaml.Unmarshal(data, &doc); err != nil { // JSON is YAML too
			return nil, isolde.Errorf(isolde.CodeInvalid, "%s: %v", path, err).WithHint("correct the file, or write isolde.yaml with: isolde init")
		}
		r := &foreignReader{folder: folder, path: path}
		f, err := known.read(r, doc, agent)
		if err != nil {
			return nil, err
		}
		f.File, f.Warnings = path, r.warnings
		return f, f.check()
	}
	return nil, nil
}

// check completes the entry point, and catches one that is not there before
// anything is uploaded.
func (f *Foreign) check() error {
	entry := f.Spec.Entrypoint[len(f.Spec.Entrypoint)-1]
	if _, err := os.Stat(filepath.Join(f.Folder, entry)); err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "%s: entrypoint %q is not in %s", f.File, entry, f.Folder).
			WithHint("the path in the file is of another machine, or the file was moved")
	}
	if err := isolde.ValidateName("agent name", f.Name); err != nil {
		return err
	}
	return f.Spec.Validate()
}

// foreignReader takes values out of a decoded file and notes what is left.
type foreignReader struct {
	folder   string
	path     string
	warnings []string
}

func (r *foreignReader) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

func (r *foreignReader) errorf(format string, args ...any) *isolde.Error {
	return isolde.Errorf(isolde.CodeInvalid, "%s: %s", r.path, fmt.Sprintf(format, args...))
}

// section is the mapping at a key; nil if there is none.
func section(m map[string]any, key string) map[string]any {
	s, _ := m[key].(map[string]any)
	return s
}

// text is the text at a key; empty if there is none.
func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// seconds is a number of seconds at a key; 0 if there is none.
func seconds(m map[string]any, key string) isolde.Seconds {
	switch v := m[key].(type) {
	case uint64:
		return isolde.Seconds(v) //nolint:gosec // bounds are checked with the whole
	case int64:
		return isolde.Seconds(v)
	case float64:
		return isolde.Seconds(v)
	}
	return 0
}

// leftOver warns of the keys in a mapping that say something and are not
// known. What is empty, false or "NO_…" asks for nothing.
func (r *foreignReader) leftOver(m map[string]any, where string, known ...string) {
	var names []string
	for key, v := range m {
		if !slices.Contains(known, key) && says(v) {
			names = append(names, key)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		r.warn("%s: Isolde does not use %s", where, strings.Join(names, ", "))
	}
}

// says tells whether a value asks for anything.
func says(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		for _, child := range v {
			if says(child) {
				return true
			}
		}
		return false
	}
	return true
}

// entry makes an entry point relative to the folder that is deployed.
func (r *foreignReader) entry(folder, entrypoint string) string {
	file, object, _ := strings.Cut(entrypoint, ":") // agent.py:app; the SDKs run the file
	if object != "" {
		r.warn("entrypoint %s: the file is run, as python %s would; %s is not looked for", entrypoint, file, object)
	}
	base, err1 := filepath.Abs(folder)
	abs := file
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(base, file)
	}
	if rel, err := filepath.Rel(base, abs); err1 == nil && err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.Base(file)
}

// protocol takes a protocol in any case.
func (r *foreignReader) protocol(name string, to *isolde.Protocol) error {
	switch p := isolde.Protocol(strings.ToUpper(name)); p {
	case "", isolde.ProtocolHTTP:
	case isolde.ProtocolMCP, isolde.ProtocolA2A, isolde.ProtocolAGUI:
		*to = p
	default:
		return r.errorf("protocol %q is none of HTTP, MCP, A2A, AGUI", name)
	}
	return nil
}
