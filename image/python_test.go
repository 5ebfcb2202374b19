package image

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// pythonAgent has a wheel of its own, so that pip really installs, and needs
// no network.
func pythonAgent(t *testing.T) string {
	t.Helper()
	dir := write(t, map[string]string{
		"agent.py":         "import sys, json, ssl, sqlite3, greeting, tools.more\nprint(greeting.WORD, tools.more.N, *sys.argv[1:])\n",
		"tools/more.py":    "N = 7\n",
		"template.py":      "{{ not python }}\n",
		"requirements.txt": "# for " + t.Name() + "\n./wheels/greeting-1.0-py3-none-any.whl # local\n",
		"wheels/":          "",
	})
	wheel(t, filepath.Join(dir, "wheels", "greeting-1.0-py3-none-any.whl"))
	return dir
}

// onlyPip is a search path without uv, so that tests see pip.
func onlyPip(t *testing.T) string {
	t.Helper()
	need.Command(t, "python3")
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !exists(filepath.Join(dir, "uv")) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}

func TestPythonImage(t *testing.T) {
	for name, search := range map[string]string{"first on PATH": onlyPip(t), "of the system": "/usr/bin:/bin"} {
		t.Run(name, func(t *testing.T) {
			if !exists("/usr/bin/python3") && search == "/usr/bin:/bin" {
				t.Skip("the system has no python3")
			}
			s := open(t, Config{Dir: shared, Path: search})
			dir := pythonAgent(t)
			img := mustBuild(t, s, Source{Dir: dir, Entrypoint: []string{"agent.py", "-v"}})
			fsys := root(t, img)
			info, err := s.findPython(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			cache := "__pycache__/%." + info.Tag + ".pyc"
			pyc := func(stem string) string { return strings.Replace(cache, "%", stem, 1) }
			for _, want := range []string{
				info.program(), "usr/local/bin/python3",
				info.home() + "/os.py", info.home() + "/" + pyc("os"), info.home() + "/json/" + pyc("__init__"),
				"app/agent.py", "app/tools/" + pyc("more"),
				dependenciesDir + "/greeting/__init__.py", dependenciesDir + "/greeting/" + pyc("__init__"), dependenciesDir + "/bin/greet",
				certificates, "etc/resolv.conf",
			} {
				if _, err := fs.Lstat(fsys, want); err != nil {
					t.Error(err)
				}
			}
			noHostFiles(t, fsys)
			script, err := fs.ReadFile(fsys, dependenciesDir+"/bin/greet")
			if err != nil || !strings.HasPrefix(string(script), "#!/"+info.program()+"\n") {
				t.Errorf("greet begins %.60q, %v", script, err)
			}
			if want := []string{"/" + info.program(), "/app/agent.py", "-v"}; !slices.Equal(img.Command, want) {
				t.Errorf("starts %v, want %v", img.Command, want)
			}
			if !slices.Contains(img.Env, "PYTHONPATH=/app:/opt/isolde/dependencies") || !slices.Contains(img.Env, "PYTHONUNBUFFERED=1") {
				t.Errorf("environment %v", img.Env)
			}
			if out := runHost(t, img); out != "hello 7 -v\n" {
				t.Errorf("on the host it says %q", out)
			}
		})
	}
}

// allowedRE are the files an image of a Python agent may hold: the
// interpreter, shared libraries, what every image has, and the agent's.
var allowedRE = regexp.MustCompile(`^(usr/local/bin/python[\d.]*t?|usr/local/lib(64)?/python3\.\d+t?/.*|` +
	`(usr/)?lib(64)?/([\w-]+/)?[\w+.-]+\.so[\w.-]*|usr/share/zoneinfo/.*|` +
	`etc/(passwd|group|hosts|resolv\.conf|nsswitch\.conf)|etc/ssl/.*|etc/pki/tls/.*|usr/lib/ssl/cert\.pem|.*/cert\.pem|` +
	`app/.*|opt/isolde/dependencies/.*)$`)

func noHostFiles(t *testing.T, fsys fs.FS) {
	t.Helper()
	tools := toolNames("")
	for _, name := range names(t, fsys, ".") {
		if !allowedRE.MatchString(name) && !tools[name] {
			t.Errorf("the image holds %s", name)
		}
		if strings.HasPrefix(name, "usr/local/lib") && slices.ContainsFunc(strings.Split(path.Dir(name), "/"), func(e string) bool {
			return e == "site-packages" || e == "dist-packages" || e == "idlelib" || e == "ensurepip" || e == "tkinter"
		}) {
			t.Errorf("the image holds %s", name)
		}
		if path.Base(name) == "sitecustomize.py" {
			t.Errorf("the image holds this machine's %s", name)
		}
	}
	b, err := fs.ReadFile(fsys, "etc/passwd")
	if err != nil || strings.Count(string(b), "\n") != 3 {
		t.Errorf("users: %q, %v", b, err)
	}
}

// TestRebuild: what changed is made anew, and nothing else.
func TestRebuild(t *testing.T) {
	s := open(t, Config{Dir: shared, Path: onlyPip(t)})
	dir := pythonAgent(t)
	change := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	last := ""
	for _, c := range []struct {
		what     string
		change   func()
		installs int
		changed  bool
	}{
		{"first", func() {}, 1, true},
		{"nothing", func() {}, 0, false},
		{"code", func() { change("tools/more.py", "N = 8\n") }, 0, true},
		{"back", func() { change("tools/more.py", "N = 7\n") }, 0, true},
		{"dependencies", func() { change("requirements.txt", "./wheels/greeting-1.0-py3-none-any.whl\n\n") }, 1, true},
		{"ignored", func() { _ = os.Mkdir(filepath.Join(dir, ".git"), 0o755); change(".git/x", "") }, 0, false},
	} {
		c.change()
		var st steps
		img, err := s.Build(t.Context(), Source{Dir: dir}, st.add)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got := st.saying("installing"); got != c.installs {
			t.Errorf("%s: installed %d times, want %d: %v", c.what, got, c.installs, st.all)
		}
		if changed := img.Digest != last; changed != c.changed {
			t.Errorf("%s: changed %v, want %v", c.what, changed, c.changed)
		}
		last = img.Digest
		opened, err := s.Open(t.Context(), img.Digest)
		if err != nil || opened.Root.Image != img.Root.Image || !slices.Equal(opened.Command, img.Command) {
			t.Errorf("%s: opened %v, %v", c.what, opened, err)
		}
	}
}

func TestPythonIsReproducible(t *testing.T) {
	search := onlyPip(t)
	a := mustBuild(t, open(t, Config{Dir: shared, Path: search}), Source{Dir: pythonAgent(t)})
	b := mustBuild(t, open(t, Config{Path: search}), Source{Dir: pythonAgent(t)})
	if a.Digest != b.Digest {
		x, y := root(t, a), root(t, b)
		for _, name := range names(t, x, ".") {
			one, _ := fs.ReadFile(x, name)
			two, _ := fs.ReadFile(y, name)
			if string(one) != string(two) {
				t.Errorf("%s differs", name)
			}
		}
		t.Errorf("digests %s and %s", a.Digest, b.Digest)
	}
}

func TestPythonCommands(t *testing.T) {
	s := open(t, Config{Dir: shared, Path: onlyPip(t)})
	dir := pythonAgent(t)
	for _, c := range []struct{ entry, want []string }{
		{[]string{"greet", "x"}, []string{"PY", "/opt/isolde/dependencies/bin/greet", "x"}},
		{[]string{"greet", "agent.py", "y"}, []string{"PY", "/opt/isolde/dependencies/bin/greet", "PY", "/app/agent.py", "y"}},
		{[]string{"python", "-m", "greeting"}, []string{"PY", "-m", "greeting"}},
		{[]string{"python3", "agent.py"}, []string{"PY", "agent.py"}},
	} {
		img := mustBuild(t, s, Source{Dir: dir, Entrypoint: c.entry})
		for i, arg := range img.Command {
			if strings.HasPrefix(arg, "/usr/local/bin/python") {
				img.Command[i] = "PY"
			}
		}
		if !slices.Equal(img.Command, c.want) {
			t.Errorf("%v starts %v, want %v", c.entry, img.Command, c.want)
		}
	}
	_, err := s.Build(t.Context(), Source{Dir: dir, Entrypoint: []string{"uvicorn", "agent:app"}}, nil)
	refused(t, err, isolde.CodeInvalid, "entry point uvicorn is neither")
}

func TestPythonErrors(t *testing.T) {
	s := open(t, Config{Dir: shared, Path: onlyPip(t)})
	t.Setenv("PIP_NO_INDEX", "1") // no name is looked up anywhere
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"does not install":    {map[string]string{"requirements.txt": "isolde-no-such-package==9.9\n"}, "No matching distribution found for isolde-no-such-package==9.9"},
		"not a requirement":   {map[string]string{"requirements.txt": "==1\n"}, "cannot install dependencies: "},
		"missing include":     {map[string]string{"requirements.txt": "-r more.txt\n"}, "refers to more.txt, which cannot be read"},
		"include from above":  {map[string]string{"requirements.txt": "-r ../../etc/passwd\n"}, "refers to ../../etc/passwd, which cannot be read"},
		"missing wheel":       {map[string]string{"requirements.txt": "./none-1.0-py3-none-any.whl\n"}, "none-1.0-py3-none-any.whl, which cannot be read"},
		"repository":          {map[string]string{"requirements.txt": "six @ git+https://127.0.0.1/six\n"}, "comes from a repository"},
		"editable":            {map[string]string{"requirements.txt": "-e .\n"}, "editable install"},
		"bad pyproject":       {map[string]string{"pyproject.toml": "[project\n"}, "pyproject.toml: "},
		"poetry":              {map[string]string{"pyproject.toml": "[tool.poetry.dependencies]\npython = '*'\nsix = '*'\n"}, "elsewhere than in [project].dependencies"},
		"pyproject's package": {map[string]string{"pyproject.toml": "[project]\nname = 'x'\ndependencies = ['isolde-no-such-package']\n"}, "No matching distribution found for isolde-no-such-package"},
		"syntax":              {map[string]string{"agent.py": "x = 1\ndef f(:\n"}, "not valid Python: agent.py:2: SyntaxError"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"agent.py": ""}
			maps.Copy(files, c.files)
			_, err := s.Build(t.Context(), Source{Dir: write(t, files)}, nil)
			refused(t, err, isolde.CodeInvalid, c.want)
		})
	}
}

// TestNoStrangersCode: unless it is allowed, nothing that a requirement leads
// to runs on this machine, not even by way of a wheel that names it.
func TestNoStrangersCode(t *testing.T) {
	search := onlyPip(t)
	mark := filepath.Join(t.TempDir(), "ran")
	source := write(t, map[string]string{
		"setup.py": "open(" + quote(mark) + ", 'w').close()\nfrom setuptools import setup\nsetup(name='evil', version='1.0', py_modules=[])\n",
	})
	dir := write(t, map[string]string{"agent.py": "", "requirements.txt": "./greeting-1.0-py3-none-any.whl\n"})
	wheel(t, filepath.Join(dir, "greeting-1.0-py3-none-any.whl"), "evil @ file://"+source)
	_, err := open(t, Config{Dir: shared, Path: search}).Build(t.Context(), Source{Dir: dir}, nil)
	refused(t, err, isolde.CodeInvalid, "built from source")
	if hint := isolde.AsError(err).Hint; !strings.Contains(hint, "--allow-scripts") {
		t.Errorf("hint %q", hint)
	}
	if exists(mark) {
		t.Error("setup.py ran")
	}
}

// TestNoHostFilesByRequirements: what an agent asks for shows nobody a file of
// the machine that builds it, or a variable of the server's.
func TestNoHostFilesByRequirements(t *testing.T) {
	s := open(t, Config{Dir: shared, Path: onlyPip(t)})
	t.Setenv("PIP_NO_INDEX", "1")
	const secret = "the-servers-own-secret: 1"
	t.Setenv("PIP_SECRET", secret)
	host := write(t, map[string]string{"secret.txt": secret + "\n"})
	file := filepath.Join(host, "secret.txt")
	hostWheel := filepath.Join(host, "greeting-1.0-py3-none-any.whl")
	wheel(t, hostWheel)
	for name, text := range map[string]string{
		"absolute":     "-r " + file + "\n",
		"attached":     "-r" + file + "\n",
		"address":      "-c file://" + file + "\n",
		"capitals":     "-r FILE://" + file + "\n",
		"remote":       "-r http://127.0.0.1:1/more.txt\n",
		"second":       "--pre -r " + file + "\n",
		"abbreviated":  "--requirem " + file + "\n",
		"with =":       "--requirement=" + file + "\n",
		"quoted":       "--pre \"-r\" " + file + "\n",
		"other line":   "six\r-r " + file + "\n",
		"another line": "six\u2028-r " + file + "\n",
		"encoding":     "# coding: utf-7\nsix+AAo--r " + file + "\n",
		"continued":    "-\\\nr " + file + "\n",
		"comment":      "# \\\n-r " + file + "\n",
		"variable":     "six==${PIP_SECRET}\n",
		"links":        "-f " + host + "\ngreeting\n",
		"index":        "-i " + host + "\ngreeting\n",
		"wheel":        hostWheel + "\n",
		"wheel's part": hostWheel + "[all]\n",
		"wheel at":     "greeting @ " + hostWheel + "\n",
		"settings":     "-f uv.toml\nsix\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"agent.py": "", "requirements.txt": text, file[1:]: "six\n", "uv.toml": ""})
			_, err := s.Build(t.Context(), Source{Dir: dir}, nil)
			refused(t, err, isolde.CodeInvalid, "")
			if e := isolde.AsError(err); strings.Contains(e.Message+e.Hint, secret) {
				t.Errorf("it tells the secret: %v", e)
			}
		})
	}
	t.Run("by a wheel", func(t *testing.T) {
		dir := write(t, map[string]string{"agent.py": "", "requirements.txt": "./other-1.0-py3-none-any.whl\n"})
		wheel(t, filepath.Join(dir, "other-1.0-py3-none-any.whl"), "greeting @ file://"+hostWheel)
		_, err := s.Build(t.Context(), Source{Dir: dir}, nil)
		refused(t, err, isolde.CodeInvalid, "a file of the server's machine")
	})
}

func TestRequirementsAsWritten(t *testing.T) {
	dir := write(t, map[string]string{
		"requirements.txt": "\ufeff# all\r\n--extra-index-url https://user:pass@index.example/simple --pre\r\nsix ; python_version > '3' # why\n" +
			"requests[socks] \\\n  >=2\n-rmore/a.txt\nhttps://user:p@example.com/x.whl#sha256=1\n-c limits.txt",
		"more/a.txt": "-c ../limits.txt\n./wheels/w.whl[x]\n", "limits.txt": "six<2\n", "wheels/w.whl": "",
	})
	r, err := readRequirements(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"requirements.txt": {
			"--extra-index-url https://user:pass@index.example/simple --pre", "six ; python_version > '3'", "requests[socks]    >=2",
			"-rmore/a.txt", "https://user:p@example.com/x.whl#sha256=1", "-c limits.txt",
		},
		"more/a.txt": {"-c ../limits.txt", "./wheels/w.whl[x]"}, "limits.txt": {"six<2"},
	}
	if diff := cmp.Diff(want, r.lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(r.local) != 1 {
		t.Errorf("files that go along: %v", r.local)
	}
}

func quote(s string) string { return "'" + s + "'" }
