package image

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// pythonsHere are the code runtimes in Python of this machine.
func pythonsHere(t *testing.T, s *Store) (found []isolde.CodeRuntime) {
	t.Helper()
	for _, r := range []isolde.CodeRuntime{isolde.RuntimePython310, isolde.RuntimePython311, isolde.RuntimePython312, isolde.RuntimePython313} {
		if _, ok := s.searchPython(t.Context(), r.Version()); ok {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		need.Command(t, "python3.12")
		t.Fatal("there is a python3.12, but it does not run")
	}
	return found
}

// vendoredAgent is the folder of a code artifact with a package at its root,
// as pip leaves it, and all that builds leave out of other folders.
var vendoredAgent = map[string]string{
	"agent.py":     "import sys, greeting\nprint('%d.%d' % sys.version_info[:2], greeting.WORD, *sys.argv[1:])\n",
	"src/agent.py": "import greeting, os\nprint('below', greeting.WORD, os.path.basename(greeting.__cached__ or ''))\n",
	// It is found first, and finds what it is to run.
	"bin/wrap": "#!/builder/bin/python3\nimport os, sys\nprint('wrapped', flush=True)\nos.execl(sys.argv[1], *sys.argv[1:])\n",
	"bin/sh":   "#!/bin/sh\n",
	"greeting-1.0.dist-info/entry_points.txt": "[other]\ngreet = no:thing\n\n[console_scripts]\ngreet = greeting:main\n\n[more]\n",
	"greeting/__init__.py":                    "WORD = 'hello'\ndef main():\n    import sys\n    print('main', *sys.argv[1:])\n",
	"greeting/__main__.py":                    "print('as a module')\n",
	"requirements.txt":                        "isolde-no-such-package==9.9\n",
	"package.json":                            "{",
	".isoldeignore":                           "greeting\n[\n",
	"venv/x.py":                               "",
	"node_modules/x":                          "",
	".cache/x":                                "",
}

func TestVendoredPython(t *testing.T) {
	s := open(t, Config{Dir: shared})
	pythons := pythonsHere(t, s)
	dir := write(t, vendoredAgent)
	bases := map[string]bool{}
	for _, r := range []isolde.CodeRuntime{pythons[0], pythons[len(pythons)-1]} {
		var st steps
		img, err := s.Build(t.Context(), Source{Dir: dir, Entrypoint: []string{"agent.py", "x"}, Runtime: r, Language: "ignored"}, st.add)
		if err != nil {
			t.Fatal(err)
		}
		if out := runHost(t, img); out != r.Version()+" hello x\n" {
			t.Errorf("%s says %q", r, out)
		}
		program := "/usr/local/bin/python" + r.Version()
		if want := []string{program, "/app/agent.py", "x"}; !slices.Equal(img.Command, want) {
			t.Errorf("starts %v, want %v", img.Command, want)
		}
		for _, want := range []string{"PYTHONPATH=/app", "PATH=/app/bin:" + binPath} {
			if !slices.Contains(img.Env, want) {
				t.Errorf("the environment lacks %s: %v", want, img.Env)
			}
		}
		for _, p := range st.all {
			if p.Stage == "dependencies" {
				t.Errorf("progress tells of dependencies: %v", p)
			}
		}
		record, err := s.record(img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		bases[record.Layers[0].Digest] = true
		fsys := root(t, img)
		noHostFiles(t, fsys)
		for name := range vendoredAgent {
			if _, err := fs.Stat(fsys, "app/"+name); err != nil {
				t.Error(err)
			}
		}
		tag := "cpython-" + strings.ReplaceAll(r.Version(), ".", "")
		if _, err := fs.Stat(fsys, "app/greeting/__pycache__/__init__."+tag+".pyc"); err != nil {
			t.Error(err)
		}
		script, err := fs.ReadFile(fsys, "app/bin/wrap")
		if err != nil || !strings.HasPrefix(string(script), "#!"+program+"\nimport") {
			t.Errorf("bin/wrap begins %.60q, %v", script, err)
		}
		if script, err := fs.ReadFile(fsys, "app/bin/sh"); err != nil || string(script) != vendoredAgent["bin/sh"] {
			t.Errorf("bin/sh is %q, %v", script, err)
		}
	}
	if want := min(len(pythons), 2); len(bases) != want {
		t.Errorf("%d bases for %d interpreters", len(bases), want)
	}
	if left, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(left, func(e fs.DirEntry) bool { return e.Name() == "__pycache__" }) {
		t.Errorf("the source was changed: %v, %v", left, err)
	}
}

func TestVendoredEntryPoints(t *testing.T) {
	s := open(t, Config{Dir: shared})
	r := pythonsHere(t, s)[0]
	dir := write(t, vendoredAgent)
	py := "/usr/local/bin/python" + r.Version()
	cached := "__init__.cpython-" + strings.ReplaceAll(r.Version(), ".", "") + ".pyc"
	for _, c := range []struct {
		entry, command []string
		says           string
	}{
		{[]string{"src/agent.py"}, []string{py, "/app/src/agent.py"}, "below hello " + cached + "\n"},
		{[]string{"./src/../agent.py"}, []string{py, "/app/agent.py"}, r.Version() + " hello\n"},
		{[]string{"python", "agent.py"}, []string{py, "agent.py"}, r.Version() + " hello\n"},
		{[]string{"python3", "-mgreeting"}, []string{py, "-mgreeting"}, "as a module\n"},
		{[]string{"wrap", "agent.py"}, []string{py, "/app/bin/wrap", py, "/app/agent.py"}, "wrapped\n" + r.Version() + " hello\n"},
		{[]string{"greet", "you"}, []string{py, "/app/bin/greet", "you"}, "main you\n"},
	} {
		img := mustBuild(t, s, Source{Dir: dir, Entrypoint: c.entry, Runtime: r})
		if !slices.Equal(img.Command, c.command) {
			t.Errorf("%v starts %v, want %v", c.entry, img.Command, c.command)
		}
		if out := runHost(t, img); out != c.says {
			t.Errorf("%v says %q, want %q", c.entry, out, c.says)
		}
	}
	t.Run("commands run by themselves", func(t *testing.T) {
		img := mustBuild(t, s, Source{Dir: dir, Entrypoint: []string{"greet"}, Runtime: r})
		out, err := exec.Command(filepath.Join(img.Root.Host.Code, "bin/wrap"), "/bin/echo", "ran").CombinedOutput()
		if err != nil || string(out) != "wrapped\nran\n" {
			t.Errorf("%s, %v", out, err)
		}
	})
}

func TestVendoredErrors(t *testing.T) {
	s := open(t, Config{Dir: shared})
	r := pythonsHere(t, s)[0]
	foreign := arm
	if runtime.GOARCH == "arm64" {
		foreign = x86
	}
	for name, c := range map[string]struct {
		files map[string]string
		entry string
		want  string
		hint  string
	}{
		"one folder down":  {map[string]string{"my-agent/agent.py": "", "__MACOSX/x": ""}, "agent.py", "entry point agent.py is in the folder my-agent/ of the archive", "cd my-agent && zip -r"},
		"missing":          {map[string]string{"Agent.py": "", "main.py": "", "a": "", "b/c": ""}, "agent.py", "entry point agent.py: there is no such file", "the archive holds Agent.py, main.py, "},
		"in many folders":  {map[string]string{"a/agent.py": "", "b/agent.py": ""}, "agent.py", "there is no such file", "the archive holds a/, b/"},
		"a folder":         {map[string]string{"agent.py/x": ""}, "agent.py", "there is no such file", "agent.py/"},
		"leads out":        {map[string]string{"agent.py": ""}, "../agent.py", "leads out of the agent's folder", ""},
		"behind a command": {map[string]string{"bin/wrap": "", "x/agent.py": ""}, "wrap agent.py", "is in the folder x/", ""},
		"no such command":  {map[string]string{"agent.py": ""}, "opentelemetry-instrument agent.py", "entry point opentelemetry-instrument is neither", "put the package that brings opentelemetry-instrument into the archive"},
		"not Python":       {map[string]string{"agent.js": ""}, "agent.js", "entry point agent.js is neither a Python file", ""},
		"nothing to run":   {map[string]string{"agent.py": ""}, "python -m", "nothing for it to run", "python -mmodule"},
		"none":             {map[string]string{"agent.py": ""}, "", "has no entry point", ""},
		"syntax":           {map[string]string{"agent.py": "x = 1\ndef f(:\n"}, "agent.py", "not valid Python: agent.py:2: SyntaxError", ""},
		"other machine":    {map[string]string{"agent.py": "", "a/m.abi3.so": foreign}, "agent.py", "a/m.abi3.so is for ", "--python-version " + r.Version()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Build(t.Context(), Source{Dir: write(t, c.files), Entrypoint: strings.Fields(c.entry), Runtime: r}, nil)
			refused(t, err, isolde.CodeInvalid, c.want)
			if hint := isolde.AsError(err).Hint; !strings.Contains(hint, c.hint) {
				t.Errorf("hint %q lacks %q", hint, c.hint)
			}
		})
	}
	_, err := s.Build(t.Context(), Source{Dir: write(t, vendoredAgent), Entrypoint: []string{"agent.py"}, Runtime: "PYTHON_3_99"}, nil)
	refused(t, err, isolde.CodeUnsupported, "PYTHON_3_99 is not on this machine")
}

// TestVendoredNode runs agents on a real Node.js 22, from npm's registry if
// the machine has another.
func TestVendoredNode(t *testing.T) {
	search := os.Getenv("PATH")
	s := open(t, Config{})
	if _, err := s.findRuntimeNode(t.Context(), isolde.RuntimeNode22); err != nil {
		dir := t.TempDir()
		arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
		install := exec.Command(need.Command(t, "npm"), "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", dir, "node-linux-"+arch+"@22")
		need.Packages(t, "node", install)
		search = filepath.Join(dir, "node_modules/node-linux-"+arch+"/bin") + ":" + search
	}
	s = open(t, Config{Path: search})
	dir := write(t, map[string]string{
		"agent.mjs":                          "import { word } from 'greeting'; console.log(process.version.split('.')[0], word, process.argv[2])\n",
		"agent.js":                           "const { basename } = require('path'); console.log(basename(__filename), require('plain'))\n",
		"src/agent.ts":                       "import { word } from 'greeting'; const w: string = word; console.log('typed', w)\n",
		"bad.js":                             "let = = 1\n",
		"package.json":                       `{"dependencies": {"isolde-no-such-package": "9"}}`,
		"node_modules/greeting/package.json": `{"name": "greeting", "type": "module", "exports": "./index.js"}`,
		"node_modules/greeting/index.js":     "export const word = 'hello'\n",
		"node_modules/plain/index.js":        "module.exports = 'plain'\n",
		"!node_modules/plain/cli.js":         "#!/usr/bin/env node\nconsole.log('command', process.argv[2])\n",
		"node_modules/.bin/":                 "",
	})
	if err := os.Symlink("../plain/cli.js", filepath.Join(dir, "node_modules/.bin/plain")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		entry, command []string
		says           string
	}{
		{[]string{"agent.mjs", "x"}, []string{"/app/agent.mjs", "x"}, "v22 hello x\n"},
		{[]string{"agent.js"}, []string{"/app/agent.js"}, "agent.js plain\n"},
		{[]string{"node", "agent.js"}, []string{"/app/agent.js"}, "agent.js plain\n"},
		{[]string{"src/agent.ts"}, []string{"/app/src/agent.isolde.mjs"}, "typed hello\n"},
		{[]string{"plain", "x"}, []string{"/app/node_modules/.bin/plain", "x"}, "command x\n"},
	} {
		img := mustBuild(t, s, Source{Dir: dir, Entrypoint: c.entry, Runtime: isolde.RuntimeNode22})
		want := append([]string{"/usr/local/bin/node", "--enable-source-maps"}, c.command...)
		if !slices.Equal(img.Command, want) {
			t.Errorf("%v starts %v, want %v", c.entry, img.Command, want)
		}
		if out := runHost(t, img); out != c.says {
			t.Errorf("%v says %q, want %q", c.entry, out, c.says)
		}
		if _, err := fs.Stat(root(t, img), "app/node_modules/greeting/index.js"); err != nil {
			t.Error(err)
		}
	}
	for entry, want := range map[string]string{
		"bad.js": "bad.js:1:", "agent.py": "is neither a JavaScript", "tsx agent.mjs": "entry point tsx is neither",
		"node": "nothing for it to run", "main.js": "entry point main.js: there is no such file",
	} {
		_, err := s.Build(t.Context(), Source{Dir: dir, Entrypoint: strings.Fields(entry), Runtime: isolde.RuntimeNode22}, nil)
		refused(t, err, isolde.CodeInvalid, want)
	}
}
