package image

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde"
)

// An AWS code artifact says which interpreter it needs, to the minor version.
// It is looked for first where programs are started from, then where version
// managers keep theirs. A file of the right name is not enough: it may be a
// shim of a version manager that knows no such version, and so each is asked.

// findRuntimePython finds the Python of a code runtime, e.g. PYTHON_3_12.
func (s *Store) findRuntimePython(ctx context.Context, runtime isolde.CodeRuntime) (pythonInfo, error) {
	version := runtime.Version()
	return remembered(s, "python "+version, func() (pythonInfo, error) {
		if info, ok := s.searchPython(ctx, version); ok {
			return info, nil
		}
		if err := context.Cause(ctx); err != nil {
			return pythonInfo{}, err
		}
		return pythonInfo{}, notHere(runtime, "Python", s.otherPythons(ctx, version)).
			WithHint("install it with: uv python install %[1]s, pyenv install %[1]s or apt-get install python%[1]s; or deploy a container image, which brings its own", version)
	})
}

// searchPython asks what may be the Python of a version until one is.
func (s *Store) searchPython(ctx context.Context, version string) (pythonInfo, bool) {
	for _, file := range s.pythonFiles(version) {
		info, err := s.askPython(ctx, file)
		switch {
		case err != nil:
			s.log.Debug("not a python that runs", "path", file, "error", err)
		case info.Version == version && info.Kind == "cpython" && !info.FreeThreaded: // packages are built for it
			return info, true
		}
	}
	return pythonInfo{}, false
}

// pythonFiles are the files that may be a Python of a version, the most likely
// first.
func (s *Store) pythonFiles(version string) []string {
	name, home := "python"+version, homeDir()
	files := append(s.onPath(name), s.onPath("python3")...)
	data := cmp.Or(os.Getenv("XDG_DATA_HOME"), filepath.Join(home, ".local/share"))
	for _, pattern := range []string{
		filepath.Join(cmp.Or(os.Getenv("PYENV_ROOT"), filepath.Join(home, ".pyenv")), "versions", version+"*", "bin", name),
		filepath.Join(cmp.Or(os.Getenv("UV_PYTHON_INSTALL_DIR"), filepath.Join(data, "uv/python")), "cpython-"+version+"*", "bin", name),
		filepath.Join(data, "mise/installs/python", version+"*", "bin", name),
		filepath.Join(asdfDir(home), "installs/python", version+"*", "bin", name),
		filepath.Join("/usr/local/bin", name),
		filepath.Join("/usr/bin", name),
		filepath.Join("/opt/python*/bin", name),
		filepath.Join("/opt/python/*/bin", name),
		filepath.Join("/opt/homebrew/bin", name),
	} {
		files = append(files, newest(pattern)...)
	}
	return unique(files)
}

// otherPythons names the Pythons of other code runtimes that are here.
func (s *Store) otherPythons(ctx context.Context, but string) (found []string) {
	for _, r := range []isolde.CodeRuntime{
		isolde.RuntimePython310, isolde.RuntimePython311, isolde.RuntimePython312, isolde.RuntimePython313, isolde.RuntimePython314,
	} {
		if r.Version() == but {
			continue
		}
		if info, ok := s.searchPython(ctx, r.Version()); ok {
			full, _, _ := strings.Cut(info.Full, " ")
			found = append(found, full)
		}
	}
	return found
}

// findRuntimeNode finds the Node.js of a code runtime, e.g. NODE_22.
func (s *Store) findRuntimeNode(ctx context.Context, runtime isolde.CodeRuntime) (nodeInfo, error) {
	version := runtime.Version()
	return remembered(s, "node "+version, func() (nodeInfo, error) {
		var others []string
		for _, file := range s.nodeFiles(version) {
			info, err := s.askNode(ctx, file)
			switch {
			case err != nil:
				s.log.Debug("not a node that runs", "path", file, "error", err)
			case strings.HasPrefix(info.Version, version+"."):
				return info, nil
			default:
				others = append(others, info.Version)
			}
		}
		if err := context.Cause(ctx); err != nil {
			return nodeInfo{}, err
		}
		return nodeInfo{}, notHere(runtime, "Node.js", unique(others)).
			WithHint("install it from https://nodejs.org or with: nvm install %s; or deploy a container image, which brings its own", version)
	})
}

// nodeFiles are the files that may be a Node.js of a major version, the most
// likely first.
func (s *Store) nodeFiles(version string) []string {
	home := homeDir()
	files := append(s.onPath("node"), s.onPath("node"+version)...)
	data := cmp.Or(os.Getenv("XDG_DATA_HOME"), filepath.Join(home, ".local/share"))
	for _, pattern := range []string{
		filepath.Join(cmp.Or(os.Getenv("NVM_DIR"), filepath.Join(home, ".nvm")), "versions/node/v"+version+".*/bin/node"),
		filepath.Join(cmp.Or(os.Getenv("FNM_DIR"), filepath.Join(data, "fnm")), "node-versions/v"+version+".*/installation/bin/node"),
		filepath.Join(asdfDir(home), "installs/nodejs", version+".*/bin/node"),
		filepath.Join(data, "mise/installs/node", version+".*/bin/node"),
		filepath.Join(cmp.Or(os.Getenv("VOLTA_HOME"), filepath.Join(home, ".volta")), "tools/image/node", version+".*/bin/node"),
		filepath.Join(cmp.Or(os.Getenv("N_PREFIX"), "/usr/local"), "n/versions/node", version+".*/bin/node"),
		"/usr/local/bin/node",
		"/usr/bin/node",
		"/opt/node*/bin/node",
		"/opt/homebrew/opt/node@" + version + "/bin/node",
	} {
		files = append(files, newest(pattern)...)
	}
	return unique(files)
}

func notHere(runtime isolde.CodeRuntime, language string, others []string) *isolde.Error {
	rest := "; there is no other " + language + " that an artifact could run on"
	if len(others) > 0 {
		rest = fmt.Sprintf("; there are %s %s", language, strings.Join(others, ", "))
		if len(others) == 1 {
			rest = fmt.Sprintf("; there is %s %s", language, others[0])
		}
	}
	return isolde.Errorf(isolde.CodeUnsupported, "%s is not on this machine%s", runtime, rest)
}

// onPath are all executables of a name in the store's search path: the first
// may be a shim that leads nowhere.
func (s *Store) onPath(name string) (files []string) {
	for _, dir := range filepath.SplitList(s.path) {
		file := filepath.Join(dir, name)
		if filepath.IsAbs(file) && isProgram(file) {
			files = append(files, file)
		}
	}
	return files
}

func isProgram(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// newest are the executables that a pattern matches, the highest version first.
func newest(pattern string) []string {
	files, _ := filepath.Glob(pattern) // a folder with [ in its name has none
	files = slices.DeleteFunc(files, func(f string) bool { return !isProgram(f) })
	slices.SortFunc(files, func(a, b string) int { return compareVersions(b, a) })
	return files
}

var numberRE = regexp.MustCompile(`\d+|\D+`)

// compareVersions compares texts with the numbers in them by their value.
func compareVersions(a, b string) int {
	return slices.CompareFunc(numberRE.FindAllString(a, -1), numberRE.FindAllString(b, -1), func(x, y string) int {
		m, err1 := strconv.Atoi(x)
		n, err2 := strconv.Atoi(y)
		if err1 != nil || err2 != nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(m, n)
	})
}

// unique drops what is there before.
func unique(all []string) (kept []string) {
	for _, s := range all {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

func homeDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return "/root" // of a service without one
	}
	return home
}

func asdfDir(home string) string {
	return cmp.Or(os.Getenv("ASDF_DATA_DIR"), filepath.Join(home, ".asdf"))
}
