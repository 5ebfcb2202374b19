package image

import (
	"testing"

	"github.com/isolde-run/isolde"
)

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		entry []string
		want  isolde.Language
	}{
		"python by entry point":         {map[string]string{"x.py": ""}, []string{"x.py"}, isolde.LanguagePython},
		"python behind a command":       {map[string]string{"x.py": ""}, []string{"opentelemetry-instrument", "x.py"}, isolde.LanguagePython},
		"python by requirements":        {map[string]string{"agent.py": "", "requirements.txt": ""}, nil, isolde.LanguagePython},
		"python command":                {map[string]string{"m.py": "", "pyproject.toml": ""}, []string{"uvicorn", "m:app"}, isolde.LanguagePython},
		"node by entry point":           {map[string]string{"src/x.mjs": ""}, []string{"src/x.mjs"}, isolde.LanguageNode},
		"typescript by entry point":     {map[string]string{"x.ts": ""}, []string{"x.ts"}, isolde.LanguageNode},
		"node by package.json":          {map[string]string{"package.json": "{}", "index.js": ""}, nil, isolde.LanguageNode},
		"go by go.mod":                  {map[string]string{"go.mod": "", "main.go": ""}, nil, isolde.LanguageGo},
		"go by go.mod and a dot":        {map[string]string{"go.mod": "", "main.go": ""}, []string{"."}, isolde.LanguageGo},
		"go by files":                   {map[string]string{"main.go": ""}, nil, isolde.LanguageGo},
		"go by entry point":             {map[string]string{"main.go": "", "requirements.txt": ""}, []string{"main.go"}, isolde.LanguageGo},
		"command":                       {map[string]string{"!run": "#!/bin/sh\n", "requirements.txt": ""}, []string{"./run", "-v"}, isolde.LanguageCommand},
		"entry point beats other files": {map[string]string{"go.mod": "", "agent.py": ""}, []string{"agent.py"}, isolde.LanguagePython},
	} {
		t.Run(name, func(t *testing.T) {
			src := Source{Dir: write(t, c.files), Entrypoint: c.entry}
			if _, err := detect(&src); err != nil || src.Language != c.want {
				t.Errorf("detected %q, %v; want %q", src.Language, err, c.want)
			}
		})
	}
}

func TestDetectRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		entry    []string
		language isolde.Language
		want     string
	}{
		"empty folder":        {nil, nil, "", "holds no files"},
		"only ignored":        {map[string]string{"node_modules/x.js": ""}, nil, "", "holds no files"},
		"nothing known":       {map[string]string{"notes.txt": ""}, nil, "", "cannot tell what starts the agent"},
		"missing python":      {map[string]string{"agent.py": ""}, []string{"agnet.py"}, "", "entry point agnet.py: there is no such file"},
		"missing node":        {map[string]string{"agent.js": ""}, []string{"main.ts"}, "", "entry point main.ts: there is no such file"},
		"missing command":     {map[string]string{"notes.txt": ""}, []string{"./server"}, "", "entry point server: there is no such file"},
		"no python file":      {map[string]string{"requirements.txt": ""}, nil, "", "no entry point is set"},
		"outside":             {map[string]string{"agent.py": ""}, []string{"../agent.py"}, "", "leads out of the agent's folder"},
		"absolute":            {map[string]string{"agent.py": ""}, []string{"/etc/agent.py"}, "", "leads out of the agent's folder"},
		"not executable":      {map[string]string{"run": "#!/bin/sh\n"}, []string{"run"}, "", "run is not executable"},
		"neither program":     {map[string]string{"!run": "hello"}, []string{"run"}, "", "neither a Linux program nor a script"},
		"unknown language":    {map[string]string{"agent.py": ""}, []string{"agent.py"}, "cobol", `language "cobol"`},
		"command without one": {map[string]string{"run": ""}, nil, isolde.LanguageCommand, "no entry point is set"},
	} {
		t.Run(name, func(t *testing.T) {
			src := Source{Dir: write(t, c.files), Entrypoint: c.entry, Language: c.language}
			_, err := detect(&src)
			refused(t, err, isolde.CodeInvalid, c.want)
		})
	}
	t.Run("no folder", func(t *testing.T) {
		_, err := detect(&Source{Dir: t.TempDir() + "/none"})
		refused(t, err, isolde.CodeInvalid, "there is no folder")
	})
	t.Run("file", func(t *testing.T) {
		_, err := detect(&Source{Dir: write(t, map[string]string{"f": ""}) + "/f"})
		refused(t, err, isolde.CodeInvalid, "is a file")
	})
}

// TestNearCandidates: a mistyped entry point is answered with what is there,
// the likeliest first.
func TestNearCandidates(t *testing.T) {
	src := Source{Dir: write(t, map[string]string{"agent.py": "", "zebra.py": "", "src/tools.py": ""}), Entrypoint: []string{"agnet.py"}}
	_, err := detect(&src)
	want := "set entrypoint in isolde.yaml to a file that exists; there is agent.py, "
	if e := isolde.AsError(err); len(e.Hint) < len(want) || e.Hint[:len(want)] != want {
		t.Errorf("hint %q, want it to begin %q", e.Hint, want)
	}
}

func TestMissingTools(t *testing.T) {
	s := open(t, Config{Path: t.TempDir()})
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"python": {map[string]string{"agent.py": ""}, "there is no python3 here"},
		"node":   {map[string]string{"agent.js": ""}, "there is no node here"},
		"go":     {map[string]string{"main.go": "package main"}, "there is no go command on the server"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Build(t.Context(), Source{Dir: write(t, c.files)}, nil)
			refused(t, err, isolde.CodeUnsupported, c.want)
		})
	}
}
