package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/isolde-run/isolde/sandbox"
)

// vendoredPython builds an agent in Python whose packages are in its folder,
// as pip install --target leaves them: modules at the root, commands in bin.
type vendoredPython struct {
	noDependencies
	info pythonInfo
}

func newVendoredPython(src Source, info pythonInfo) (*vendoredPython, error) {
	v := &vendoredPython{info: info}
	if _, err := pythonCommand(src.Entrypoint, v.place(src.Dir)); err != nil {
		return nil, err
	}
	return v, checkModules(src, info)
}

// place is where the agent runs on the host: in a copy of its folder, so that
// its own names are relative.
func (v *vendoredPython) place(dir string) pythonPlace {
	return pythonPlace{
		python: v.info.Base, bin: "bin",
		has: func(name string) bool {
			return hasFile(filepath.Join(dir, "bin"), name) || consoleScript(dir, name) != ""
		},
		bring: "name a file such as agent.py, or put the package that brings %s into the archive: uv pip install --target . PACKAGE",
	}
}

func (v *vendoredPython) base(ctx context.Context, b *build) (layer, error) {
	return b.pythonBase(ctx, v.info)
}

func (v *vendoredPython) code(ctx context.Context, b *build) (layer, error) {
	staged, err := b.stage(ctx, nil)
	if err != nil {
		return layer{}, err
	}
	inputs := []string{"vendored python", v.info.Full, v.info.Tag, v.info.Base, strings.Join(b.src.Entrypoint, " ")}
	finish := func(ctx context.Context, dir string) error {
		if err := b.compileFolder(ctx, v.info, dir, "/"+codeDir); err != nil {
			return err
		}
		return finishScripts(dir, b.src.Entrypoint[0], v.info.Base)
	}
	return b.keepCodeAs(ctx, staged, inputs, finish, func(t tree) error {
		return fixScripts(t, codeDir+"/bin", v.info)
	})
}

func (v *vendoredPython) start(_ context.Context, b *build) (start, error) {
	place := v.place(b.src.Dir)
	host, err := pythonCommand(b.src.Entrypoint, place)
	if err != nil {
		return start{}, err
	}
	place.python, place.code, place.bin = "/"+v.info.program(), "/"+codeDir+"/", "/"+codeDir+"/bin"
	inside, err := pythonCommand(b.src.Entrypoint, place)
	if err != nil {
		return start{}, err
	}
	folder := filepath.Join(storeMark, b.codeLayer.Folder)
	return start{
		command: inside,
		env:     []string{"PYTHONUNBUFFERED=1", "PYTHONPATH=/" + codeDir, "PATH=/" + codeDir + "/bin:" + binPath},
		host: &sandbox.HostRoot{
			Code:    folder,
			Command: host,
			// Python makes the relative path absolute when it starts, in the
			// copy that nobody knows the place of before.
			Env: append(b.hostEnv(filepath.Join(folder, "bin")), "PYTHONUNBUFFERED=1", "PYTHONPATH=."),
		},
	}, nil
}

// finishScripts makes the commands in dir's bin run with an interpreter:
// whoever vendored the packages had theirs elsewhere. The command that starts
// the agent is made if only its package is there, as in archives from Windows.
func finishScripts(dir, command, python string) error {
	bin := filepath.Join(dir, "bin")
	if target := consoleScript(dir, command); target != "" && !hasFile(bin, command) {
		if err := os.MkdirAll(bin, 0o755); err != nil {
			return err
		}
		module, call, _ := strings.Cut(target, ":")
		name, _, _ := strings.Cut(call, ".")
		text := "#!python\nimport sys\nfrom " + module + " import " + name + "\nsys.exit(" + call + "())\n"
		if err := os.WriteFile(filepath.Join(bin, command), []byte(text), 0o755); err != nil {
			return err
		}
	}
	all, err := os.ReadDir(bin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range all {
		if !e.Type().IsRegular() {
			continue
		}
		file := filepath.Join(bin, e.Name())
		content, err := runBy(file, python)
		if err != nil {
			return err
		}
		if content == nil {
			continue
		}
		if err := errors.Join(os.WriteFile(file, content, 0o755), os.Chmod(file, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// consoleScriptRE is a command in a package's entry_points.txt.
var consoleScriptRE = regexp.MustCompile(`(?m)^\s*([\w.-]+)\s*=\s*([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_][\w.]*)\s*(\[.*)?$`)

// consoleScript is what a command of the packages in dir calls, as
// "module:function"; empty if none of them has the command.
func consoleScript(dir, command string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.dist-info", "entry_points.txt")) // a folder with [ in its name has none
	for _, file := range files {
		text, err := readSmall(file)
		if err != nil {
			continue // it is no package then
		}
		_, section, _ := strings.Cut(string(text), "[console_scripts]")
		section, _, _ = strings.Cut(section, "\n[")
		for _, m := range consoleScriptRE.FindAllStringSubmatch(section, -1) {
			if m[1] == command {
				return m[2] + ":" + m[3]
			}
		}
	}
	return ""
}
