package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
)

//go:embed templates
var templates embed.FS

// templateEntry is the entry point of each template.
var templateEntry = map[string]string{"python": "agent.py", "node": "agent.js", "go": "main.go"}

type initOptions struct {
	name       string
	entrypoint string
	language   string
	template   string
	force      bool
}

func (a *app) initCommand() *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:     "init [FOLDER]",
		Aliases: []string{"configure"},
		Short:   "Make a folder an agent: write its isolde.yaml",
		Long: `Make a folder an agent: write its isolde.yaml.

The entry point is found by its name: agent.py, main.py, app.py, agent.ts, index.js,
main.go and the like. In an empty folder, or one that is not there yet, it writes a
small agent that works.`,
		Example: `  isolde init ./my-agent
  isolde init --entrypoint src/server.py --name weather
  isolde init ./hello --template go`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.init(optional(args, 0, "."), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "`name` of the agent (default: from the folder's)")
	f.StringVar(&o.entrypoint, "entrypoint", "", "`file` that starts the agent, with its arguments")
	f.StringVar(&o.language, "language", "", "`language`: python, node, go or command (default: from the entry point)")
	f.StringVar(&o.template, "template", "", "`kind` of agent to write in an empty folder: python, node or go (default python)")
	f.BoolVar(&o.force, "force", false, "overwrite files that are there")
	return c
}

func (a *app) init(folder string, o initOptions) error {
	if o.name == "" {
		o.name = project.DefaultName(folder)
	}
	if err := isolde.ValidateName("agent name", o.name); err != nil {
		return err
	}
	files, err := o.plan(folder)
	if err != nil {
		return err
	}
	written, err := writeFiles(folder, files, o.force)
	for _, name := range written {
		a.err.printf("wrote %s", filepath.Join(folder, name))
	}
	if err != nil {
		return err
	}
	if _, err := project.Load(folder, a.getenv); err != nil {
		return err // of the flags: the file says what they said
	}
	where := ""
	if folder != "." {
		where = " " + folder
	}
	a.err.printf("\nrun it: isolde dev%s", where)
	return nil
}

// file is a file to write: its name in the folder and its content.
type file struct{ name, text string }

// plan decides what is written.
func (o *initOptions) plan(folder string) ([]file, error) {
	empty, err := isEmpty(folder)
	if err != nil {
		return nil, err
	}
	var files []file
	if o.entrypoint == "" && (empty || o.template != "") {
		if o.template == "" {
			o.template = "python"
		}
		if files, err = template(o.template); err != nil {
			return nil, err
		}
		o.entrypoint = templateEntry[o.template]
	}
	if o.entrypoint == "" {
		found, ok := project.Detect(folder)
		if !ok {
			return nil, isolde.Errorf(isolde.CodeInvalid, "no file in %q looks like the entry point of an agent", folder).
				WithHint("name it with --entrypoint FILE, or write a small agent with --template python")
		}
		o.entrypoint = found
	}
	return append(files, file{project.File, o.projectFile()}), nil
}

func (o *initOptions) projectFile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\n", o.name)
	if parts := strings.Fields(o.entrypoint); len(parts) > 1 {
		b.WriteString("entrypoint:\n")
		for _, p := range parts {
			fmt.Fprintf(&b, "  - %q\n", p)
		}
	} else {
		fmt.Fprintf(&b, "entrypoint: %s\n", yamlWord(o.entrypoint))
	}
	if o.language != "" {
		fmt.Fprintf(&b, "language: %s\n", yamlWord(o.language))
	}
	b.WriteString(`
# Everything below is optional.
#
# environment:              # ${VAR} and ${VAR:-default} come from your shell when you deploy
#   ANTHROPIC_API_KEY: ${ANTHROPIC_API_KEY}
#
# lifecycle:
#   idleTimeout: 15m        # a session ends after this long without a call
#   maxLifetime: 8h         # and after this long in any case
#
# resources:                # of one session
#   cpus: 2
#   memory: 8GiB
#
# network:
#   egress: internet        # or none, or a list: [api.openai.com, "*.amazonaws.com", 10.1.0.0/16]
`)
	return b.String()
}

// yamlWord quotes what is more than a plain word.
func yamlWord(s string) string {
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-", r) {
			return fmt.Sprintf("%q", s)
		}
	}
	if s == "" || s[0] == '-' || s == "." {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// template reads the files of a template.
func template(name string) ([]file, error) {
	dir := path.Join("templates", name)
	entries, err := templates.ReadDir(dir)
	if _, known := templateEntry[name]; !known || err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "there is no template %q", name).WithHint("python, node or go")
	}
	var files []file
	for _, e := range entries {
		text, err := templates.ReadFile(path.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, file{strings.TrimSuffix(e.Name(), ".tmpl"), string(text)})
	}
	return files, nil
}

// isEmpty tells whether a folder holds nothing but hidden files, or is not
// there at all.
func isEmpty(folder string) (bool, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, isolde.Errorf(isolde.CodeInvalid, "%q is not a folder", folder).WithCause(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return false, nil
		}
	}
	return true, nil
}

// writeFiles writes all files or, if one is there already, none; except that
// force overwrites. It returns the names of those written.
func writeFiles(folder string, files []file, force bool) (written []string, err error) {
	if !force {
		for _, f := range files {
			if _, err := os.Lstat(filepath.Join(folder, f.name)); err == nil {
				return nil, isolde.Errorf(isolde.CodeConflict, "%s is there already", filepath.Join(folder, f.name)).WithHint("overwrite it with --force")
			}
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "cannot make the folder: %w", err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(folder, f.name), []byte(f.text), 0o644); err != nil {
			return written, isolde.Errorf(isolde.CodeInvalid, "cannot write: %w", err)
		}
		written = append(written, f.name)
	}
	return written, nil
}
