package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// python builds agents in Python, on the interpreter of this machine.
type python struct{}

// pythonInfo is what a Python says of itself.
type pythonInfo struct {
	Version    string `json:"version"`    // "3.11"
	Full       string `json:"full"`       // the whole version, with the compiler
	Executable string `json:"executable"` // as found; of a virtual environment, if it is in one
	Base       string `json:"base"`       // the interpreter itself
	Stdlib     string `json:"stdlib"`     // its standard library
	LibDir     string `json:"libdir"`     // "lib" or "lib64"
	Tag        string `json:"tag"`        // of bytecode files, "cpython-311"
	CAFile     string `json:"cafile"`     // where its OpenSSL looks for certificates; may be empty

	Kind         string   `json:"kind"`     // "cpython"
	FreeThreaded bool     `json:"nogil"`    // built without the lock that most packages rely on
	Suffixes     []string `json:"suffixes"` // of extension modules that it loads
}

// tellPython makes an interpreter tell where it is: what is on PATH may be a
// shim, a link or a virtual environment.
const tellPython = `
import importlib.machinery, json, os, sys, sysconfig
base = getattr(sys, "_base_executable", sys.executable)
try:
    import ssl
    cafile = ssl.get_default_verify_paths().openssl_cafile
except ImportError:
    cafile = ""
json.dump({"version": "%d.%d" % sys.version_info[:2], "full": sys.version, "executable": sys.executable,
    "base": os.path.realpath(base), "stdlib": os.path.realpath(sysconfig.get_path("stdlib")), "libdir": getattr(sys, "platlibdir", "lib"),
    "tag": sys.implementation.cache_tag, "cafile": cafile, "kind": sys.implementation.name,
    "nogil": bool(sysconfig.get_config_var("Py_GIL_DISABLED")), "suffixes": importlib.machinery.EXTENSION_SUFFIXES}, sys.stdout)
`

// findPython asks the python3 on the path; it remembers the answer.
func (s *Store) findPython(ctx context.Context) (pythonInfo, error) {
	return remembered(s, "python", func() (info pythonInfo, err error) {
		file, err := s.lookPath("python3")
		if err != nil {
			return info, isolde.Errorf(isolde.CodeUnsupported, "the agent is written in Python, and there is no python3 here").
				WithHint("install it with: apt-get install python3 python3-pip").WithCause(err)
		}
		if info, err = s.askPython(ctx, file); err != nil {
			return info, isolde.Errorf(isolde.CodeUnsupported, "%s does not run", file).
				WithHint("python3 --version shows why; put a working one first on PATH").WithCause(err)
		}
		return info, nil
	})
}

// askPython asks an interpreter about itself.
func (s *Store) askPython(ctx context.Context, file string) (info pythonInfo, err error) {
	out, err := s.runTool(ctx, tool{dir: s.tmp, args: []string{file, "-I", "-c", tellPython}})
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal([]byte(out), &info)
}

// home is the folder of the standard library in the image.
func (p pythonInfo) home() string {
	return path.Join("usr/local", p.LibDir, filepath.Base(p.Stdlib))
}

// program is the interpreter's file in the image.
func (p pythonInfo) program() string { return "usr/local/bin/python" + p.Version }

func (*python) base(ctx context.Context, b *build) (layer, error) {
	info, err := b.findPython(ctx)
	if err != nil {
		return layer{}, err
	}
	return b.pythonBase(ctx, info)
}

// pythonBase makes the layer of an interpreter.
func (b *build) pythonBase(ctx context.Context, info pythonInfo) (layer, error) {
	p, err := remembered(b.Store, "python base "+info.Base, func() (*plan, error) { return planPython(info) })
	if err != nil {
		return layer{}, err
	}
	return b.keepBase(ctx, "Python "+info.Version, p, func(ctx context.Context, t tree, tmp string) error {
		return b.addBytecode(ctx, info, t, tmp)
	})
}

// usualLibraries are what wheels may take for granted (PEP 599 and its like)
// and what the C library loads by itself, if this machine has them.
var usualLibraries = []string{
	"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2",
	"libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libexpat.so.1",
}

// planPython is the base layer but for the bytecode.
func planPython(info pythonInfo) (*plan, error) {
	t, err := skeleton()
	if err != nil {
		return nil, err
	}
	t.file(info.program(), info.Base, 0o755)
	for _, name := range []string{"python3", "python"} {
		t.link("usr/local/bin/"+name, path.Base(info.program()))
	}
	if info.CAFile != "" {
		t.link(strings.TrimPrefix(path.Clean(info.CAFile), "/"), "/"+certificates)
	}
	if err := t.folder(info.home(), info.Stdlib, 0, inStdlib); err != nil {
		return nil, err
	}
	t.dir(path.Join(info.home(), "site-packages"), 0o755, 0)
	if err := addLibraries(t, info.Base, info.home()); err != nil {
		return nil, err
	}
	return newPlan(t, "python", info.Full, info.Tag)
}

// addLibraries adds what the program and the extensions below home need.
func addLibraries(t tree, program, home string) error {
	link := newLinker(t)
	if err := link.add(program); err != nil {
		return err
	}
	var extensions []string
	for name := range t {
		if strings.HasPrefix(name, home+"/") && strings.HasSuffix(name, ".so") {
			extensions = append(extensions, name)
		}
	}
	slices.Sort(extensions)
	for _, name := range extensions {
		err := link.add(t[name].from)
		if errors.Is(err, fs.ErrNotExist) {
			delete(t, name) // it cannot be imported on this machine either
			continue
		}
		if err != nil {
			return err
		}
	}
	for _, name := range usualLibraries {
		if err := link.addKnown(name, program); err != nil {
			return err
		}
	}
	return nil
}

// notStdlib are parts of the standard library's folder that no agent needs,
// or that belong to this machine.
var notStdlib = map[string]bool{
	"site-packages": true, "dist-packages": true, "test": true, "idlelib": true, "tkinter": true,
	"turtledemo": true, "turtle.py": true, "ensurepip": true, "sitecustomize.py": true,
	"usercustomize.py": true, "EXTERNALLY-MANAGED": true,
}

func inStdlib(name string, d fs.DirEntry) bool {
	base := path.Base(name)
	switch {
	case base == "__pycache__", notStdlib[name], strings.HasPrefix(name, "config-"):
		return false
	case d.IsDir() && (base == "test" || base == "tests" || base == "idle_test"):
		return false
	case path.Dir(name) == "lib-dynload":
		return !strings.HasPrefix(base, "_test") && !strings.HasPrefix(base, "_tkinter") &&
			!strings.HasPrefix(base, "_ctypes_test") && !strings.HasPrefix(base, "xx") && !strings.HasPrefix(base, "_xxtest")
	}
	return true
}

func (*python) code(ctx context.Context, b *build) (layer, error) {
	info, err := b.findPython(ctx)
	if err != nil {
		return layer{}, err
	}
	staged, err := b.stage(ctx, nil)
	if err != nil {
		return layer{}, err
	}
	return b.keepCode(ctx, staged, []string{"python", info.Full, info.Tag, strings.Join(b.src.Entrypoint, " ")}, func(ctx context.Context, dir string) error {
		return b.compileFolder(ctx, info, dir, "/"+codeDir)
	})
}

// bytecodeFile is where Python looks for the bytecode of a source file.
func (p pythonInfo) bytecodeFile(source string) string {
	stem := strings.TrimSuffix(path.Base(source), ".py")
	return path.Join(path.Dir(source), "__pycache__", fmt.Sprintf("%s.%s.pyc", stem, p.Tag))
}
