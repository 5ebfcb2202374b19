package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/isolde-run/isolde"
)

// guardedPip runs pip with every way of starting a process closed. Installing
// wheels needs none; building a package from source, cloning a repository and
// whatever else runs a stranger's code does. The guard is an audit hook, which
// Python cannot take back. pip and its libraries treat the refusal like a
// program that is not installed where they can do without.
const guardedPip = `
import sys
sys.path = [p for p in sys.path if p]
def guard(event, args):
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "pty.spawn"):
        raise PermissionError("isolde: ` + guardMark + `")
sys.addaudithook(guard)
import runpy
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
`

// guardMark is how a refusal is found in pip's output.
const guardMark = "a dependency wants to run code while it is installed"

const plainPip = `
import sys, runpy
sys.path = [p for p in sys.path if p]
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
`

func (*python) dependencies(ctx context.Context, b *build) (layer, error) {
	wanted, err := readRequirements(b.src.Dir, b.scripts)
	if err != nil || wanted == nil {
		return layer{}, err
	}
	info, err := b.findPython(ctx)
	if err != nil {
		return layer{}, err
	}
	key := key("python", info.Full, info.Tag, info.Base, fmt.Sprint(b.scripts), wanted.sum())
	l, cached, err := b.keyed(ctx, folderDependencies, key, nil, func(ctx context.Context) (layer, error) {
		return b.installPython(ctx, info, wanted, key)
	})
	if err != nil {
		return layer{}, err
	}
	b.report.say("dependencies", cached, "%s of packages for %s", megabytes(l.Size), wanted.name)
	return l, nil
}

func (b *build) installPython(ctx context.Context, info pythonInfo, wanted *requirements, key string) (layer, error) {
	tmp, err := os.MkdirTemp(b.tmp, "dependencies-")
	if err != nil {
		return layer{}, err
	}
	defer os.RemoveAll(tmp)
	work, target := filepath.Join(tmp, "work"), filepath.Join(tmp, "packages")
	if err := wanted.writeTo(work); err != nil {
		return layer{}, err
	}
	if err := os.Mkdir(target, 0o755); err != nil {
		return layer{}, err
	}
	if err := b.runInstaller(ctx, info, wanted, work, target); err != nil {
		return layer{}, err
	}
	b.report.say("dependencies", false, "compiling packages")
	if !b.scripts {
		if err := onlyOwnFiles(target, work); err != nil {
			return layer{}, err
		}
	}
	if err := tidyPackages(target); err != nil {
		return layer{}, err
	}
	if err := b.compileFolder(ctx, info, target, "/"+dependenciesDir); err != nil {
		return layer{}, err
	}
	t := tree{}
	if err := t.folder(dependenciesDir, target, 0, nil); err != nil {
		return layer{}, err
	}
	if err := fixScripts(t, dependenciesDir+"/bin", info); err != nil {
		return layer{}, err
	}
	l, err := b.writeLayer(ctx, t)
	if err != nil {
		return layer{}, err
	}
	l.Folder, err = b.keepFolder(target, folderDependencies, key)
	return l, err
}

// runInstaller installs with uv where there is one, else with pip.
func (b *build) runInstaller(ctx context.Context, info pythonInfo, wanted *requirements, work, target string) error {
	t := tool{dir: work, env: []string{
		"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "PIP_ROOT_USER_ACTION=ignore", "PIP_USER=0", "PIP_REQUIRE_VIRTUALENV=0",
		"GIT_TERMINAL_PROMPT=0",
	}}
	with := "pip"
	if uv, err := b.lookPath("uv"); err == nil {
		with = "uv"
		t.args = []string{uv, "pip", "install", "--python", info.Executable, "--target", target, "--link-mode", "copy", "--no-progress", "--color", "never", "-r", wanted.file}
		if !b.scripts {
			t.args = append(t.args, "--no-build")
		}
	} else {
		t.args = []string{info.Executable, "-c", plainPip, "install", "--target", target, "--no-compile", "--progress-bar", "off", "-r", wanted.file}
		if !b.scripts {
			t.args[2] = guardedPip
			t.args = append(t.args, "--only-binary", ":all:")
		}
	}
	b.report.say("dependencies", false, "installing %s with %s", countPackages(wanted.count), with)
	_, err := b.runTool(ctx, t)
	if failed, ok := errors.AsType[*toolError](err); ok {
		return b.explainInstall(ctx, info, wanted, failed)
	}
	return err
}

// missingRE finds, in pip's output, a package that it found no wheel of.
var missingRE = regexp.MustCompile(`\(from versions: none\)\s+ERROR: No matching distribution found for ([A-Za-z0-9._-]+)`)

// allowScripts is a hint's way out where code would run during an install.
const allowScripts = "start the server with --allow-scripts, which lets packages run code of theirs on it while they are installed"

// explainInstall makes an installer's failure an error for people.
func (b *build) explainInstall(ctx context.Context, info pythonInfo, wanted *requirements, failed *toolError) error {
	const withScripts = allowScripts + ", or add a wheel of the package to the agent's folder"
	out := failed.output
	if strings.Contains(out, "No module named pip") {
		return isolde.Errorf(isolde.CodeUnsupported, "%s has no pip to install %s with", info.Executable, wanted.name).
			WithHint("apt-get install python3-pip, or install uv").WithCause(failed)
	}
	message := "cannot install dependencies: " + errorLines(out)
	if strings.Contains(out, guardMark) {
		return isolde.Errorf(isolde.CodeInvalid, "cannot install dependencies: %s names a package that must be built from source or cloned:\n%s", wanted.name, lastLines(beforeGuard(out), 3)).
			WithHint(withScripts).WithCause(failed)
	}
	if strings.Contains(out, "no usable wheels") || strings.Contains(out, "no wheels with") || strings.Contains(out, "building source distributions is disabled") {
		return isolde.Errorf(isolde.CodeInvalid, "%s", message).WithHint(withScripts).WithCause(failed)
	}
	if m := missingRE.FindStringSubmatch(out); m != nil && !b.scripts {
		if b.hasSource(ctx, info, m[1]) {
			return isolde.Errorf(isolde.CodeInvalid, "%s\n%s exists, but not as a wheel for Python %s on this machine", message, m[1], info.Version).
				WithHint(withScripts).WithCause(failed)
		}
	}
	return isolde.Errorf(isolde.CodeInvalid, "%s", message).
		WithHint("check names and versions in %s", wanted.name).WithCause(failed)
}

// hasSource asks the index whether a package exists in source form.
func (b *build) hasSource(ctx context.Context, info pythonInfo, name string) bool {
	_, err := b.runTool(ctx, tool{
		dir:  b.tmp,
		args: []string{info.Executable, "-c", guardedPip, "index", "versions", "--no-binary", ":all:", name},
		env:  []string{"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1"},
	})
	return err == nil
}

// errorLines picks what matters of an installer's output: its error lines, and
// the last lines if it marks none.
func errorLines(out string) string {
	if _, after, ok := strings.Cut(out, "×"); ok { // uv draws a tree of causes, wrapped
		return strings.Join(strings.Fields(strings.NewReplacer("╰─▶", " ", "├─▶", " ", "│", " ").Replace(after)), " ")
	}
	var marked []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		for _, mark := range []string{"ERROR:", "error:", "cause:", "Caused by:", "npm error ", "npm ERR! "} {
			if text, ok := strings.CutPrefix(line, mark); ok && !npmNoise.MatchString(text) {
				marked = append(marked, strings.TrimSpace(text))
			}
		}
	}
	if len(marked) == 0 {
		return lastLines(out, 4)
	}
	return lastLines(strings.Join(marked, "\n"), 6)
}

// npmNoise are npm's error lines that say nothing about the error.
var npmNoise = regexp.MustCompile(`^\s*(code \w+|\d+|notarget|A complete log .*|\d+\s+(Note that|tarball, folder).*|notarget In most cases.*)?\s*$`)

// beforeGuard is what the installer said until the guard stopped it.
func beforeGuard(out string) string {
	before, _, _ := strings.Cut(out, guardMark)
	var lines []string
	for line := range strings.Lines(before) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Collecting ") || strings.HasPrefix(line, "Obtaining ") || strings.HasPrefix(line, "Processing ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// onlyOwnFiles refuses packages that came from a file of this machine outside
// of work: a wheel may name any.
func onlyOwnFiles(dir, work string) error {
	work, err := filepath.EvalSymlinks(work)
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.dist-info", "direct_url.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var direct struct{ URL string }
		if err := json.Unmarshal(content, &direct); err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(filepath.Dir(name)), err)
		}
		from, err := url.Parse(direct.URL)
		if err != nil || from.Scheme != "file" {
			continue
		}
		real, err := filepath.EvalSymlinks(from.Path)
		if err != nil || !strings.HasPrefix(real, work+"/") {
			return isolde.Errorf(isolde.CodeInvalid, "cannot install dependencies: a package asks for %s, a file of the server's machine", direct.URL).
				WithHint("use a published version, or put the wheel into the agent's folder")
		}
	}
	return nil
}

// tidyPackages removes what tells where a package was installed from, and
// would make equal installs differ: direct_url.json and its line in RECORD.
func tidyPackages(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.dist-info", "direct_url.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return err
		}
		if err := dropLine(filepath.Join(filepath.Dir(name), "RECORD"), "/direct_url.json,"); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, ".lock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // uv's
	}
	return nil
}

// dropLine removes the lines of a file that hold a text.
func dropLine(name, text string) error {
	content, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept []byte
	for line := range bytes.Lines(content) {
		if !bytes.Contains(line, []byte(text)) {
			kept = append(kept, line...)
		}
	}
	return os.WriteFile(name, kept, 0o644)
}

// fixScripts makes the commands in bin, a folder of t, run with the image's
// interpreter: installers write that of the machine into them.
func fixScripts(t tree, bin string, info pythonInfo) error {
	for name, e := range t {
		if path.Dir(name) != bin || e.from == "" {
			continue
		}
		content, err := runBy(e.from, "/"+info.program())
		if err != nil {
			return err
		}
		if content != nil {
			e.from, e.data = "", content
			t[name] = e
		}
	}
	return nil
}

// runBy is the content of a script that Python runs, with another interpreter
// in its first line; nil if the file is none.
func runBy(file, python string) ([]byte, error) {
	content, err := readSmall(file)
	if errors.Is(err, errNotSmall) {
		return nil, nil // installers write a few lines
	}
	if err != nil || !bytes.HasPrefix(content, []byte("#!")) {
		return nil, err
	}
	line, rest, _ := bytes.Cut(content, []byte("\n"))
	if !bytes.Contains(line, []byte("python")) {
		// A shell trampoline, for interpreters with long paths, ends
		// with the Python text all the same.
		if !bytes.HasPrefix(rest, []byte("'''exec'")) {
			return nil, nil
		}
		_, rest, _ = bytes.Cut(rest, []byte("\n' '''\n"))
	}
	return append([]byte("#!"+python+"\n"), rest...), nil
}
