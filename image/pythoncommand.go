package image

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// start turns the entry point into a command. A file is run by the
// interpreter; a command that a dependency brings is run from there, and a
// file behind it by the interpreter as well ("opentelemetry-instrument
// agent.py"); the interpreter's own names stand for themselves.
func (*python) start(ctx context.Context, b *build) (start, error) {
	info, err := b.findPython(ctx)
	if err != nil {
		return start{}, err
	}
	host, err := pythonCommand(b, info.Base, b.dependencyFolder("bin"), true)
	if err != nil {
		return start{}, err
	}
	inside, err := pythonCommand(b, "/"+info.program(), "/"+dependenciesDir+"/bin", false)
	if err != nil {
		return start{}, err
	}
	env := []string{"PYTHONUNBUFFERED=1"}
	st := start{command: inside, env: append(env, "PYTHONPATH=/"+codeDir, "PATH="+binPath)}
	st.host = &sandbox.HostRoot{Code: filepath.Join(storeMark, b.codeLayer.Folder), Command: host, Env: append(b.hostEnv(), env...)}
	if b.dependencyLayer.Folder != "" {
		folder := filepath.Join(storeMark, b.dependencyLayer.Folder)
		st.env = append(env, "PYTHONPATH=/"+codeDir+":/"+dependenciesDir, "PATH=/"+dependenciesDir+"/bin:"+binPath)
		st.host.Env = append(b.hostEnv(filepath.Join(folder, "bin")), append(env, "PYTHONPATH="+folder)...)
	}
	return st, nil
}

// dependencyFolder is a folder in the plain form of the dependencies, as
// records name it.
func (b *build) dependencyFolder(sub string) string {
	return filepath.Join(storeMark, b.dependencyLayer.Folder, sub)
}

// pythonCommand is the argv for the image, or for the host, whose relative
// names are resolved in the copy of the code.
func pythonCommand(b *build, python, bin string, host bool) ([]string, error) {
	var command []string
	for i, arg := range b.src.Entrypoint {
		switch {
		case pythonEntry(arg) && !slices.Contains(command, python):
			name, err := inSource(arg)
			if err != nil {
				return nil, err
			}
			if !host {
				name = "/" + codeDir + "/" + name
			}
			command = append(command, python, name)
			return append(command, b.src.Entrypoint[i+1:]...), nil
		case i > 0:
			command = append(command, arg)
		case arg == "python" || arg == "python3":
			command = append(command, python)
		case b.hasScript(arg):
			command = append(command, python, path.Join(bin, arg))
			if i+1 < len(b.src.Entrypoint) && pythonEntry(b.src.Entrypoint[i+1]) {
				return instrumented(b, command, python, host)
			}
		default:
			return nil, isolde.Errorf(isolde.CodeInvalid, "entry point %s is neither a Python file in the folder nor a command of its dependencies", arg).
				WithHint("name a file such as agent.py, or add the package that brings %s to requirements.txt", arg)
		}
	}
	return command, nil
}

// instrumented adds the file that a command of the dependencies is to run.
func instrumented(b *build, command []string, python string, host bool) ([]string, error) {
	name, err := inSource(b.src.Entrypoint[1])
	if err != nil {
		return nil, err
	}
	if !host {
		name = "/" + codeDir + "/" + name
	}
	return append(append(command, python, name), b.src.Entrypoint[2:]...), nil
}

// hasScript tells whether the dependencies bring a command.
func (b *build) hasScript(name string) bool {
	if b.dependencyLayer.Folder == "" || name != path.Base(name) {
		return false
	}
	info, err := os.Stat(filepath.Join(b.dir, b.dependencyLayer.Folder, "bin", name))
	return err == nil && info.Mode().IsRegular()
}
