package project

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// shell is the environment that the tests' files refer to.
func shell(name string) string {
	return map[string]string{"TOKEN": "s3cret", "EMPTY": ""}[name]
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       operator.Deployment
	}{
		{"nothing", "", operator.Deployment{}},
		{"comments only", "# an agent\n", operator.Deployment{}},
		{"the usual two lines", "name: weather\nentrypoint: agent.py\n", operator.Deployment{
			Name: "weather", Spec: isolde.VersionSpec{Entrypoint: []string{"agent.py"}},
		}},
		{"everything", `
name: weather
description: |
  Tells the weather.
entrypoint: [opentelemetry-instrument, agent.py]
language: Python
environment:
  PORT: 0080
  DEBUG: true
  PI: 3.10
  NOTHING:
  TOKEN: ${TOKEN}
  URL: "http://${HOST:-localhost}/$$1?a=$b"
  OPTIONAL: ${EMPTY:-}
lifecycle:
  idleTimeout: 15m
  maxLifetime: 7200
resources:
  cpus: 0.5
  memory: 8GiB
  processes: 100
  disk: 1.5 GB
  storage: 64MiB
storage: [/mnt/data, /mnt/cache/]
mounts:
- {path: /mnt/models, folder: /srv/models/, readonly: true}
- path: /mnt/box
  folder: /srv/box
network:
  egress: none
protocol: mcp
`, operator.Deployment{Name: "weather", Spec: isolde.VersionSpec{
			Description: "Tells the weather.\n",
			Entrypoint:  []string{"opentelemetry-instrument", "agent.py"},
			Language:    isolde.LanguagePython,
			Environment: map[string]string{
				"PORT": "0080", "DEBUG": "true", "PI": "3.10", "NOTHING": "", "TOKEN": "s3cret",
				"URL": "http://localhost/$1?a=$b", "OPTIONAL": "",
			},
			Lifecycle: isolde.Lifecycle{IdleTimeout: 900, MaxLifetime: 7200},
			Resources: isolde.Resources{CPUs: 0.5, MemoryBytes: 8 << 30, Processes: 100, DiskBytes: 1_500_000_000, StorageBytes: 64 << 20},
			Filesystems: []isolde.Filesystem{
				{Session: &isolde.SessionStorage{MountPath: "/mnt/data"}}, {Session: &isolde.SessionStorage{MountPath: "/mnt/cache/"}},
			},
			Mounts:   []isolde.Mount{{Path: "/mnt/models", Folder: "/srv/models", ReadOnly: true}, {Path: "/mnt/box", Folder: "/srv/box"}},
			Network:  isolde.Network{Egress: isolde.EgressNone},
			Protocol: isolde.ProtocolMCP,
		}}},
		{"keys without values", "name:\nlifecycle:\nentrypoint: a.py\n", operator.Deployment{
			Spec: isolde.VersionSpec{Entrypoint: []string{"a.py"}},
		}},
		{"egress list", "network:\n  egress: [api.example.com, '*.example.org:443', 10.1.0.0/16]\n", operator.Deployment{
			Spec: isolde.VersionSpec{Network: isolde.Network{Egress: isolde.EgressList, Allow: []string{"api.example.com", "*.example.org:443", "10.1.0.0/16"}}},
		}},
		{"one storage", "storage: /mnt/data\nentrypoint: a.py\n", operator.Deployment{Spec: isolde.VersionSpec{
			Entrypoint: []string{"a.py"}, Filesystems: []isolde.Filesystem{{Session: &isolde.SessionStorage{MountPath: "/mnt/data"}}},
		}}},
		{"bound sessions", "bindSessions: false\n", operator.Deployment{Spec: isolde.VersionSpec{BindSessions: new(bool)}}},
		{"an image", "name: a\nimage: ghcr.io/me/agent:1\n", operator.Deployment{Name: "a"}},
		{"flow style", "{name: a, entrypoint: './server', resources: {memory: 512Mi}}", operator.Deployment{
			Name: "a", Spec: isolde.VersionSpec{Entrypoint: []string{"./server"}, Resources: isolde.Resources{MemoryBytes: 512 << 20}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := parse("isolde.yaml", []byte(tt.yaml), shell)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, p.Deployment); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, yaml, message, hint string }{
		{"unknown key", "name: a\nentrypont: agent.py\n", `isolde.yaml:2:1: unknown key "entrypont" in the file`, "did you mean entrypoint?"},
		{"short form", "env:\n  A: b\n", `isolde.yaml:1:1: unknown key "env" in the file`, "did you mean environment?"},
		{"other case", "resources:\n  Memory: 1GiB\n", `isolde.yaml:2:3: unknown key "Memory" in resources`, "did you mean memory?"},
		{"separators", "lifecycle:\n  idle_timeout: 15m\n", `isolde.yaml:2:3: unknown key "idle_timeout" in lifecycle`, "did you mean idleTimeout?"},
		{"unlike any key", "network:\n  vpc: x\n", `isolde.yaml:2:3: unknown key "vpc" in network`, "known keys: egress"},
		{"a list", "- a\n", `isolde.yaml:1:1: the file must be keys and values, not a list`, ""},
		{"a word", "agent.py\n", `isolde.yaml:1:1: the file must be keys and values, not "agent.py"`, ""},
		{"bad name", "name: my-agent\n", `isolde.yaml:1:7: agent name "my-agent" is not valid: it must start with a letter and hold 1 to 48 letters, digits and underscores`, "for example: name: my_agent"},
		{"name is a list", "name: [a]\n", `isolde.yaml:1:7: name must be text, not a list`, ""},
		{"empty entrypoint", "entrypoint: ''\n", `isolde.yaml:1:13: entrypoint is empty`, ""},
		{"empty entrypoint list", "entrypoint: []\n", `isolde.yaml:1:13: entrypoint is empty`, ""},
		{"language", "language: pyton\n", `isolde.yaml:1:11: "pyton" is not one of python, node, go, command`, "did you mean python?"},
		{"protocol", "protocol: SOAP\n", `isolde.yaml:1:11: "SOAP" is not one of HTTP, MCP, A2A, AGUI`, ""},
		{"variable not set", "name: a\nenvironment:\n  KEY: ${MISSING}\n", `isolde.yaml:3:8: the variable MISSING is not set`, "export MISSING=…, or give a default: ${MISSING:-…}"},
		{"empty variable", "environment: {KEY: \"${EMPTY}\"}\n", `isolde.yaml:1:20: the variable EMPTY is not set`, "export EMPTY=…, or give a default: ${EMPTY:-…}"},
		{"open brace", "environment:\n  KEY: a${B\n", `isolde.yaml:2:8: ${ without its }`, "write $$ for a dollar sign"},
		{"bad reference", "environment:\n  KEY: ${A B}\n", `isolde.yaml:2:8: ${A B} is not of the form ${VAR} or ${VAR:-default}`, "write $$ for a dollar sign"},
		{"bad variable", "environment:\n  MY-KEY: a\n", `isolde.yaml:2:3: "MY-KEY" cannot be the name of a variable`, "letters, digits and underscores, not starting with a digit"},
		{"nested environment", "environment:\n  KEY:\n    a: b\n", `isolde.yaml:3:5: KEY must be text, not keys and values`, ""},
		{"fraction of a second", "lifecycle: {idleTimeout: 90.5s}\n", `isolde.yaml:1:26: idleTimeout "90.5s" is not a duration in whole seconds`, "for example 15m, or 900"},
		{"too short", "lifecycle:\n  idleTimeout: 30\n", `isolde.yaml:2:16: idleTimeout is 30s; it must be 1m to 8h`, ""},
		{"too long", "lifecycle:\n  maxLifetime: 9h\n", `isolde.yaml:2:16: maxLifetime is 9h0m0s; it must be 1m to 8h`, ""},
		{"idle beyond lifetime", "lifecycle:\n  idleTimeout: 2h\n  maxLifetime: 1h\n", `isolde.yaml:2:3: idleTimeout (2h0m0s) is longer than maxLifetime (1h0m0s)`, ""},
		{"cpus", "resources: {cpus: -1}\n", `isolde.yaml:1:19: cpus "-1" is not a number of cores`, "for example 2, or 0.5"},
		{"memory", "resources: {memory: 8 gigs}\n", `isolde.yaml:1:21: "8 gigs" is not a size`, "for example 8GiB, or 512MiB"},
		{"processes", "resources: {processes: 0}\n", `isolde.yaml:1:24: "0" is not a whole number above zero`, ""},
		{"egress", "network: {egress: nowhere}\n", `isolde.yaml:1:19: "nowhere" is not one of internet, none`, ""},
		{"destination", "network: {egress: [a.example, 10.1.2.3/16]}\n", `isolde.yaml:1:31: "10.1.2.3/16" has bits beyond its prefix`, "the network is 10.1.0.0/16"},
		{"empty egress list", "network: {egress: []}\n", `isolde.yaml:1:19: egress is an empty list`, "for no egress at all: egress: none"},
		{"wildcard without quotes", "network:\n  egress:\n    - *.example.com\n", `isolde.yaml:3:7: a destination that begins with * must be in quotes`, `for example "*.example.com"`},
		{"storage", "storage: /data\n", `isolde.yaml:1:10: "/data" is not a folder below /mnt`, "for example /mnt/data"},
		{"storage climbs", "storage: [/mnt/../etc]\n", `isolde.yaml:1:11: "/mnt/../etc" is not a folder below /mnt`, "for example /mnt/data"},
		{"mounts", "mounts: /srv\n", `isolde.yaml:1:9: mounts must be a list`, "for example: mounts: [{path: /mnt/models, folder: /srv/models, readonly: true}]"},
		{"half a mount", "mounts:\n- path: /mnt/a\n", `isolde.yaml:2:3: a mount needs path, in the session, and folder, on the server's machine`, ""},
		{"relative folder", "mounts: [{path: /mnt/a, folder: models}]\n", `isolde.yaml:1:33: "models" is not an absolute path on the server's machine`, ""},
		{"bindSessions", "bindSessions: jwt\n", `isolde.yaml:1:15: the value must be true or false, not "jwt"`, ""},
		{"readonly", "mounts: [{path: /mnt/a, folder: /srv, readonly: 1}]\n", `isolde.yaml:1:49: the value must be true or false, not "1"`, ""},
		{"two documents", "name: a\n---\nname: b\n", `isolde.yaml:3:1: a second document; the file holds one agent`, ""},
		{"image and entrypoint", "image: x\nentrypoint: agent.py\n", `isolde.yaml: image stands instead of entrypoint and language; an image says itself what it runs`, "remove image, or the others"},
		{"image and language", "language: go\nimage: x\n", `isolde.yaml: image stands instead of entrypoint and language; an image says itself what it runs`, "remove image, or the others"},
		{"empty image", "image: ''\n", `isolde.yaml:1:8: image is empty`, "for example: image: ghcr.io/me/agent:1, oci:./layout, or docker-archive:agent.tar"},
		{"alias", "name: &n a\ndescription: *n\n", `isolde.yaml:1:7: anchors, aliases and tags are not supported`, "write the value out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("isolde.yaml", []byte(tt.yaml), shell)
			e, ok := errors.AsType[*isolde.Error](err)
			if !ok {
				t.Fatalf("error is %v", err)
			}
			if e.Code != isolde.CodeInvalid || e.Message != tt.message || e.Hint != tt.hint {
				t.Errorf("got  %s: %s (%s)\nwant %s (%s)", e.Code, e.Message, e.Hint, tt.message, tt.hint)
			}
		})
	}
}

func TestParseSyntaxErrors(t *testing.T) {
	for _, text := range []string{"name: [a\n", "name: a\n\tentrypoint: b\n", "a: b: c\n", "name: a\nname: b\n", "name: \"a\n"} {
		_, err := parse("isolde.yaml", []byte(text), shell)
		if err == nil || !strings.HasPrefix(err.Error(), "isolde.yaml:") || strings.Contains(err.Error(), "\n") || isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// folder makes a folder of files; the values are their text.
func folder(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for f, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadCompletes(t *testing.T) {
	d, err := Load(folder(t, "my-agent", map[string]string{File: "", "main.py": "", "index.js": ""}), shell)
	if err != nil {
		t.Fatal(err)
	}
	want := operator.Deployment{Name: "my_agent", Spec: isolde.VersionSpec{Entrypoint: []string{"main.py"}}}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		code  isolde.Code
		want  string
	}{
		{"no file", nil, isolde.CodeNotConfigured, "there is no isolde.yaml in"},
		{"no entry point", map[string]string{File: "name: a\n"}, isolde.CodeInvalid, "there is no entrypoint, and none of agent.py, main.py, app.py is in the folder"},
		{"misspelt entry point", map[string]string{File: "entrypoint: agnet.py\n", "agent.py": ""}, isolde.CodeInvalid, `isolde.yaml:1:13: entrypoint "agnet.py" is not in the folder (did you mean agent.py?)`},
		{"entry point outside", map[string]string{File: "entrypoint: ../agent.py\n"}, isolde.CodeInvalid, `must be a path within the folder`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(folder(t, "a", tt.files), shell)
			if isolde.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v (%s), want %q (%s)", err, isolde.CodeOf(err), tt.want, tt.code)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), shell); err == nil || !strings.Contains(err.Error(), "is not a folder") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestLoadOrDetect(t *testing.T) {
	d, found, err := LoadOrDetect(folder(t, "plain", map[string]string{"app.py": ""}), shell)
	if err != nil || found || d.Name != "plain" || !cmp.Equal(d.Spec.Entrypoint, []string{"app.py"}) {
		t.Errorf("without the file: %+v, %v, %v", d, found, err)
	}
	_, found, err = LoadOrDetect(folder(t, "broken", map[string]string{"app.py": "", File: "nam: a\n"}), shell)
	if !found || isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Errorf("with a broken file: %v, %v", found, err)
	}
	_, found, err = LoadOrDetect(folder(t, "bare", nil), shell)
	if found || isolde.CodeOf(err) != isolde.CodeNotConfigured {
		t.Errorf("with nothing: %v, %v", found, err)
	}
}

func TestName(t *testing.T) {
	tests := []struct {
		files map[string]string
		want  string
		code  isolde.Code
	}{
		{nil, "", ""},
		{map[string]string{File: "environment: {A: \"${MISSING}\"}\nname: weather\n"}, "weather", ""},
		{map[string]string{File: "description: no entry point either\n"}, "my_agent", ""},
		{map[string]string{File: "nmae: weather\n"}, "", isolde.CodeInvalid},
	}
	for _, tt := range tests {
		got, err := Name(folder(t, "my agent", tt.files))
		if got != tt.want || isolde.CodeOf(err) != tt.code {
			t.Errorf("%v: %q, %v", tt.files, got, err)
		}
	}
}

func TestMergeEnvironment(t *testing.T) {
	got, err := MergeEnvironment(map[string]string{"A": "1", "B": "2"}, []string{"B=x=y", "C=", "TOKEN"}, shell)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "x=y", "C": "", "TOKEN": "s3cret"}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"=x", "A B=c", "MISSING", ""} {
		if _, err := MergeEnvironment(nil, []string{bad}, shell); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	tests := map[string]int64{
		"1": 1, "100b": 100, "1k": 1000, "1Ki": 1024, "1KiB": 1024, "1.5 GiB": 3 << 29, "8GB": 8e9, "2t": 2e12,
		"": 0, "GiB": 0, "-1": 0, "0": 0, "0.1": 0, "1x": 0, "1i": 0, "inf": 0, "nan": 0, "99999999T": 0,
	}
	for s, want := range tests {
		if got, ok := ParseSize(s); got != want || ok != (want > 0) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, ok, want)
		}
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/" + File)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, err := Load(filepath.Dir(f), shell); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"name: a\nentrypoint: [a, b]\n", "environment:\n  A: ${B:-c}$$\n", "resources: {memory: 1GiB, cpus: .5}",
		"? a\n: b\n", "<<: *a", "!!map {a: b}", "a: |\n  b\n", "lifecycle:\n idleTimeout: 15m", "- - -", "---\n---\n", "\"", "&a *a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parse("f", []byte(s), shell)
		if err != nil && (isolde.CodeOf(err) != isolde.CodeInvalid || !strings.HasPrefix(err.Error(), "f")) {
			t.Errorf("error without place or code: %v", err)
		}
		if l := p.Spec.Lifecycle; err == nil && (isolde.VersionSpec{Lifecycle: l}).Validate() != nil {
			t.Errorf("lifecycle %+v was let through", l)
		}
	})
}
