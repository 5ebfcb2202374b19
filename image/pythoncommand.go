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

// pythonPlace is where the command of an agent in Python is to run: in its
// image, or on the host.
type pythonPlace struct {
	python string // the interpreter
	code   string // what comes before the names of the agent's own files
	bin    string // the folder with the commands of its packages
	has    func(command string) bool
	bring  string // how to get a command that is not there, with %s for its name
}

// start turns the entry point into a command that runs with the dependencies.
func (*python) start(ctx context.Context, b *build) (start, error) {
	info, err := b.findPython(ctx)
	if err != nil {
		return start{}, err
	}
	place := pythonPlace{
		python: info.Base, bin: b.dependencyFolder("bin"),
		has: b.hasScript, bring: "name a file such as agent.py, or add the package that brings %s to requirements.txt",
	}
	host, err := pythonCommand(b.src.Entrypoint, place)
	if err != nil {
		return start{}, err
	}
	place.python, place.code, place.bin = "/"+info.program(), "/"+codeDir+"/", "/"+dependenciesDir+"/bin"
	inside, err := pythonCommand(b.src.Entrypoint, place)
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

// pythonCommand is the argv of an entry point. A file is run by the
// interpreter; a command that a package brings is run from there, and a file
// behind it by the interpreter as well ("opentelemetry-instrument agent.py");
// the interpreter's own names stand for themselves, and names behind them are
// resolved in the agent's folder.
func pythonCommand(entrypoint []string, at pythonPlace) ([]string, error) {
	first := entrypoint[0]
	switch {
	case pythonEntry(first):
		return at.run(nil, entrypoint)
	case first == "python" || first == "python3":
		return at.interpret(entrypoint[1:])
	case at.has(first):
		command := []string{at.python, path.Join(at.bin, first)}
		if len(entrypoint) > 1 && pythonEntry(entrypoint[1]) {
			return at.run(command, entrypoint[1:])
		}
		return append(command, entrypoint[1:]...), nil
	default:
		return nil, isolde.Errorf(isolde.CodeInvalid, "entry point %s is neither a Python file in the folder nor a command of its dependencies", first).
			WithHint(at.bring, first)
	}
}

// run appends what runs a file of the agent.
func (at pythonPlace) run(command, args []string) ([]string, error) {
	name, err := inSource(args[0])
	if err != nil {
		return nil, err
	}
	return append(append(command, at.python, at.code+name), args[1:]...), nil
}

// interpret is the interpreter with its own arguments.
func (at pythonPlace) interpret(args []string) ([]string, error) {
	if len(args) == 0 || slices.Equal(args, []string{"-m"}) {
		return nil, isolde.Errorf(isolde.CodeInvalid, "the entry point names Python, but nothing for it to run").
			WithHint("name a file such as agent.py, or a module in one word: python -mmodule")
	}
	return append([]string{at.python}, args...), nil
}

// hasScript tells whether the dependencies bring a command.
func (b *build) hasScript(name string) bool {
	return b.dependencyLayer.Folder != "" && hasFile(filepath.Join(b.dir, b.dependencyLayer.Folder, "bin"), name)
}

// hasFile tells whether a file is directly in a folder.
func hasFile(dir, name string) bool {
	if name != path.Base(name) {
		return false
	}
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular()
}
