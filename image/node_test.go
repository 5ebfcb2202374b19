package image

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// stubNPM is a search path whose npm installs one package without a network,
// and writes its arguments beside it.
func stubNPM(t *testing.T) (search, calls string) {
	t.Helper()
	node := need.Command(t, "node")
	calls = filepath.Join(t.TempDir(), "calls")
	dir := write(t, map[string]string{"!npm": `#!/bin/sh
echo "$@" >> ` + calls + `
mkdir -p node_modules/greeting node_modules/.bin
echo '{"name":"greeting","type":"module","exports":"./index.js"}' > node_modules/greeting/package.json
echo 'export const word = "hello";' > node_modules/greeting/index.js
ln -s ../greeting/index.js node_modules/.bin/greet
`})
	return dir + ":" + filepath.Dir(node) + ":/usr/bin:/bin", calls
}

func TestNodeImage(t *testing.T) {
	search, calls := stubNPM(t)
	s := open(t, Config{Path: search})
	manifest := `{"dependencies": {"greeting": "1"}}`
	for name, c := range map[string]struct {
		files   map[string]string
		entry   []string
		command []string
		want    string
	}{
		"module": {
			map[string]string{"package.json": manifest, "a.mjs": `import { word } from "greeting"; console.log(word, process.argv[2])`},
			[]string{"a.mjs", "x"},
			[]string{"/app/a.mjs", "x"},
			"hello x\n",
		},
		"commonjs": {
			map[string]string{"a.js": `const { basename } = require("path"); console.log(basename(__filename))`},
			[]string{"a.js"},
			[]string{"/app/a.js"},
			"a.js\n",
		},
		"typescript": {
			map[string]string{
				"package.json":  manifest,
				"src/agent.ts":  "import { word } from \"greeting\";\nimport { say } from \"./say\";\nconst w: string = word;\nconsole.log(say(w));\n",
				"src/say.ts":    "export const say = (w: string): string => w + \" typed\";\n",
				"tsconfig.json": `{"compilerOptions": {"strict": true}}`,
			},
			[]string{"src/agent.ts"},
			[]string{"/app/src/agent.isolde.mjs"},
			"hello typed\n",
		},
		"options": {
			map[string]string{"a.js": `console.log(process.execArgv.length)`},
			[]string{"node", "--no-warnings", "a.js"},
			[]string{"--no-warnings", "/app/a.js"},
			"2\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			img := mustBuild(t, s, Source{Dir: write(t, c.files), Entrypoint: c.entry})
			want := append([]string{"/usr/local/bin/node", "--enable-source-maps"}, c.command...)
			if !slices.Equal(img.Command, want) {
				t.Errorf("starts %v, want %v", img.Command, want)
			}
			if out := runHost(t, img); out != c.want {
				t.Errorf("on the host it says %q, want %q", out, c.want)
			}
			fsys := root(t, img)
			_, err := fs.Stat(fsys, "app/node_modules/greeting/index.js")
			if installed := c.files["package.json"] != ""; installed != (err == nil) {
				t.Errorf("packages: %v", err)
			}
		})
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "\n"); got != 1 {
		t.Errorf("npm ran %d times for one set of dependencies:\n%s", got, text)
	}
	if !strings.HasPrefix(string(text), "install --omit=dev ") || !strings.Contains(string(text), " --ignore-scripts ") {
		t.Errorf("npm ran with %s", text)
	}
}

func TestNodeInstallsOnlyWhenItMust(t *testing.T) {
	search, calls := stubNPM(t)
	s := open(t, Config{Path: search})
	dir := write(t, map[string]string{"agent.js": ""})
	for _, c := range []struct {
		name, content string
		calls         int
	}{
		{"package.json", `{"dependencies": {"greeting": "1"}}`, 1},
		{"package.json", `{"version": "2", "scripts": {"x": "y"}, "dependencies": {"greeting": "1"}}`, 1},
		{"agent.js", "1", 1},
		{"package.json", `{"dependencies": {"greeting": "2"}}`, 2},
		{"package-lock.json", `{}`, 3},
		{".npmrc", "script-shell=/bin/evil\n", 3},
		{".npmrc", "@us:registry=http://127.0.0.1/\n", 4},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.name), []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		mustBuild(t, s, Source{Dir: dir})
		text, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "\n"); got != c.calls {
			t.Errorf("after %s %s npm ran %d times, want %d", c.name, c.content, got, c.calls)
		}
	}
	text, _ := os.ReadFile(calls)
	if !strings.Contains(string(text), "\nci ") {
		t.Errorf("with a lock file npm ran as\n%s", text)
	}
}

// TestNoHostFilesByNPM: the real npm installs a package from any file that it
// is told of, by whatever way.
func TestNoHostFilesByNPM(t *testing.T) {
	need.Command(t, "npm")
	s := open(t, Config{})
	host := t.TempDir()
	archive := filepath.Join(host, "x.tgz")
	npmArchive(t, archive, `{"name": "x", "version": "1.0.0"}`)
	served := t.TempDir()
	npmArchive(t, filepath.Join(served, "y.tgz"), `{"name": "y", "version": "1.0.0", "dependencies": {"x": "file:`+archive+`"}}`)
	registry := httptest.NewServer(http.FileServer(http.Dir(served)))
	defer registry.Close()
	for name, files := range map[string]map[string]string{
		"by a package": {"package.json": `{"dependencies": {"y": "` + registry.URL + `/y.tgz"}}`},
		"lock": {"package.json": dependsOnX, "package-lock.json": `{"name": "agent", "lockfileVersion": 3, "packages": {
			"": {"name": "agent", "dependencies": {"x": "1.0.0"}}, "node_modules/x": {"version": "1.0.0", "resolved": "file:` + archive + `"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			files["agent.js"] = ""
			_, err := s.Build(t.Context(), Source{Dir: write(t, files)}, nil)
			refused(t, err, isolde.CodeInvalid, "a file of the server's machine")
		})
	}
}

// npmArchive makes a package as npm packs it.
func npmArchive(t *testing.T, file, manifest string) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	zip := gzip.NewWriter(out)
	w := tar.NewWriter(zip)
	err = w.WriteHeader(&tar.Header{Name: "package/package.json", Mode: 0o644, Size: int64(len(manifest)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = io.WriteString(w, manifest)
	}
	if err := errors.Join(err, w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
}

const dependsOnX = `{"name": "agent", "dependencies": {"x": "1.0.0"}}`

func TestNodeErrors(t *testing.T) {
	search, _ := stubNPM(t)
	s := open(t, Config{Path: search})
	outside := write(t, map[string]string{"secret.json": `{"key": 1}`})
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"javascript":     {map[string]string{"agent.js": "let a = 1;\nlet b = ;\n"}, "agent.js:2:9: Unexpected"},
		"typescript":     {map[string]string{"agent.ts": "const a: number = ;\n"}, "agent.ts:1:19: Unexpected"},
		"imported":       {map[string]string{"agent.ts": "import './b'\n", "b.ts": "let = 1 1\n"}, "b.ts:1:"},
		"missing import": {map[string]string{"agent.ts": "import './nothing'\n"}, `agent.ts:1:8: Could not resolve "./nothing"`},
		"import outside": {map[string]string{"agent.ts": "import s from '" + relative(t, outside) + "/secret.json'\nconsole.log(s)\n"}, "agent.ts:1:15"},
		"manifest":       {map[string]string{"agent.js": "", "package.json": "{"}, "package.json: unexpected end"},
		"repository":     {map[string]string{"agent.js": "", "package.json": `{"dependencies": {"x": "user/x"}}`}, "dependency x comes from a repository"},
		"peer":           {map[string]string{"agent.js": "", "package.json": `{"peerDependencies": {"x": "file:/root/x.tgz"}}`}, "dependency x is the folder"},
		"locked":         {map[string]string{"agent.js": "", "package.json": dependsOnX, "package-lock.json": `{"packages": {"node_modules/x": {"version": "1.0.0", "resolved": "file:/root/x.tgz"}}}`}, "comes from file:/root/x.tgz"},
		"locked by path": {map[string]string{"agent.js": "", "package.json": dependsOnX, "package-lock.json": `{"packages": {"node_modules/x": {"version": "/root/x.tgz"}}}`}, "comes from /root/x.tgz"},
		"locked of old":  {map[string]string{"agent.js": "", "package.json": dependsOnX, "npm-shrinkwrap.json": `{"dependencies": {"x": {"version": "file:../x.tgz"}}}`}, "comes from file:../x.tgz"},
		"bad lock":       {map[string]string{"agent.js": "", "package.json": dependsOnX, "package-lock.json": `{`}, "package-lock.json: "},
		"folder":         {map[string]string{"agent.js": "", "package.json": `{"dependencies": {"x": "file:../x"}}`}, "dependency x is the folder"},
		"no command":     {map[string]string{"agent.js": "", "package.json": "{}"}, "entry point tsx is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			src := Source{Dir: write(t, c.files)}
			if name == "no command" {
				src.Entrypoint = []string{"tsx", "--watch"}
				src.Language = isolde.LanguageNode
			}
			_, err := s.Build(t.Context(), src, nil)
			refused(t, err, isolde.CodeInvalid, c.want)
		})
	}
}

// relative leads from a staged folder to dir by way of the root.
func relative(_ *testing.T, dir string) string {
	return strings.Repeat("../", 20) + strings.TrimPrefix(dir, "/")
}
