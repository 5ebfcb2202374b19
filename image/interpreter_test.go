package image

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// stubPython is a program that says of itself what a Python of a version would.
func stubPython(full string) string {
	version := full[:strings.LastIndex(full, ".")]
	return "#!/bin/sh\necho '{\"version\": \"" + version + "\", \"full\": \"" + full + " (main)\", \"kind\": \"cpython\", \"base\": \"'$0'\"}'\n"
}

const noSuchVersion = "#!/bin/sh\necho 'pyenv: command not found' >&2; exit 127\n"

// machine is a home and a search path with nothing but files; what is in
// /usr and /opt of the real machine stays within reach.
func machine(t *testing.T, files map[string]string) (s *Store, home string) {
	t.Helper()
	home = write(t, files)
	t.Setenv("HOME", home)
	for _, name := range []string{
		"PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "ASDF_DATA_DIR", "NVM_DIR", "FNM_DIR", "VOLTA_HOME", "N_PREFIX",
	} {
		t.Setenv(name, "")
	}
	return open(t, Config{Path: filepath.Join(home, "first") + ":" + filepath.Join(home, "second")}), home
}

func TestFindRuntimePython(t *testing.T) {
	const shims = "!first/python3.12"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"by its name":   {map[string]string{shims: stubPython("3.12.4"), "!second/python3": stubPython("3.12.5")}, "first/python3.12"},
		"behind a shim": {map[string]string{shims: noSuchVersion, "!second/python3.12": stubPython("3.12.4")}, "second/python3.12"},
		"python3":       {map[string]string{"!first/python3": stubPython("3.11.4"), "!second/python3": stubPython("3.12.4")}, "second/python3"},
		"lying name":    {map[string]string{shims: stubPython("3.11.4"), "!second/python3.12": stubPython("3.12.4")}, "second/python3.12"},
		"pyenv, newest": {map[string]string{
			shims:                                    noSuchVersion,
			"!.pyenv/versions/3.12.9/bin/python3.12": stubPython("3.12.9"),
			"!.pyenv/versions/3.12.10/bin/python3.12": stubPython("3.12.10"),
			"!.pyenv/versions/3.12.1/bin/python3.12":  stubPython("3.12.1"),
		}, ".pyenv/versions/3.12.10/bin/python3.12"},
		"uv": {map[string]string{
			"!.local/share/uv/python/cpython-3.12.3-linux-x86_64-gnu/bin/python3.12":  noSuchVersion,
			"!.local/share/uv/python/cpython-3.12.11-linux-x86_64-gnu/bin/python3.12": stubPython("3.12.11"),
		}, ".local/share/uv/python/cpython-3.12.11-linux-x86_64-gnu/bin/python3.12"},
		"other implementation": {map[string]string{
			shims:                strings.Replace(stubPython("3.12.4"), "cpython", "pypy", 1),
			"!second/python3.12": stubPython("3.12.4"),
		}, "second/python3.12"},
		"free-threaded": {map[string]string{
			shims:                strings.Replace(stubPython("3.12.4"), `"kind"`, `"nogil": true, "kind"`, 1),
			"!second/python3.12": stubPython("3.12.4"),
		}, "second/python3.12"},
	} {
		t.Run(name, func(t *testing.T) {
			s, home := machine(t, c.files)
			info, err := s.findRuntimePython(t.Context(), isolde.RuntimePython312)
			if err != nil || info.Base != filepath.Join(home, c.want) {
				t.Errorf("found %s, %v; want %s", info.Base, err, c.want)
			}
		})
	}
}

// TestRuntimesAreRemembered each for itself.
func TestRuntimesAreRemembered(t *testing.T) {
	s, _ := machine(t, map[string]string{"!first/python3.11": stubPython("3.11.4"), "!first/python3.12": stubPython("3.12.4"), "!first/python3": stubPython("3.11.4")})
	for range 2 {
		for _, r := range []isolde.CodeRuntime{isolde.RuntimePython311, isolde.RuntimePython312} {
			if info, err := s.findRuntimePython(t.Context(), r); err != nil || info.Version != r.Version() {
				t.Errorf("%s is %s, %v", r, info.Version, err)
			}
		}
	}
}

func TestRuntimeIsNotHere(t *testing.T) {
	s, _ := machine(t, map[string]string{
		"!first/python3.11": stubPython("3.11.4"), "!first/python3.12": stubPython("3.12.4"),
		"!first/node": "#!/bin/sh\necho '{\"version\": \"20.1.2\"}'\n", "!second/node": noSuchVersion,
		"!.nvm/versions/node/v21.5.0/bin/node": "#!/bin/sh\necho '{\"version\": \"21.5.0\"}'\n",
	})
	_, err := s.findRuntimePython(t.Context(), "PYTHON_3_99")
	refused(t, err, isolde.CodeUnsupported, "PYTHON_3_99 is not on this machine; there are Python ")
	refused(t, err, isolde.CodeUnsupported, "3.11.4, 3.12.4")
	if hint := isolde.AsError(err).Hint; !strings.Contains(hint, "uv python install 3.99, pyenv install 3.99 or apt-get install python3.99") {
		t.Errorf("hint %q", hint)
	}
	_, err = s.findRuntimeNode(t.Context(), "NODE_99")
	refused(t, err, isolde.CodeUnsupported, "NODE_99 is not on this machine; there ")
	refused(t, err, isolde.CodeUnsupported, "Node.js 20.1.2")
}

func TestFindRuntimeNode(t *testing.T) {
	stub := func(version string) string {
		return "#!/bin/sh\necho '{\"version\": \"" + version + "\", \"program\": \"'$0'\"}'\n"
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"on the path":    {map[string]string{"!first/node": stub("20.1.0"), "!second/node": stub("22.1.0")}, "second/node"},
		"with a version": {map[string]string{"!first/node": stub("20.1.0"), "!first/node22": stub("22.1.0")}, "first/node22"},
		"nvm, newest": {map[string]string{
			"!first/node":                           stub("2.2.0"),
			"!.nvm/versions/node/v22.9.0/bin/node":  stub("22.9.0"),
			"!.nvm/versions/node/v22.11.0/bin/node": stub("22.11.0"),
			"!.nvm/versions/node/v23.0.0/bin/node":  stub("23.0.0"),
		}, ".nvm/versions/node/v22.11.0/bin/node"},
		"fnm":  {map[string]string{"!.local/share/fnm/node-versions/v22.2.0/installation/bin/node": stub("22.2.0")}, ".local/share/fnm/node-versions/v22.2.0/installation/bin/node"},
		"asdf": {map[string]string{"!.asdf/installs/nodejs/22.3.0/bin/node": stub("22.3.0")}, ".asdf/installs/nodejs/22.3.0/bin/node"},
	} {
		t.Run(name, func(t *testing.T) {
			s, home := machine(t, c.files)
			info, err := s.findRuntimeNode(t.Context(), isolde.RuntimeNode22)
			if err != nil || info.Program != filepath.Join(home, c.want) {
				t.Errorf("found %s, %v; want %s", info.Program, err, c.want)
			}
		})
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"3.12.9", "3.12.10", -1},
		{"v22.2.0", "v22.10.0", -1},
		{"3.12.1", "3.12.1", 0},
		{"3.13", "3.12.4", 1},
		{"cpython-3.12-linux", "cpython-3.12.1-linux", -1},
	} {
		if diff := cmp.Diff([]int{c.want, -c.want}, []int{compareVersions(c.a, c.b), compareVersions(c.b, c.a)}); diff != "" {
			t.Errorf("%s and %s (-want +got): %s", c.a, c.b, diff)
		}
	}
}
