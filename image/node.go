package image

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// node builds agents in JavaScript and TypeScript, on this machine's Node.js.
type node struct{}

// nodeInfo is what a Node.js says of itself.
type nodeInfo struct {
	Version string `json:"version"` // "20.20.2"
	Modules string `json:"modules"` // the ABI of native modules
	Program string `json:"program"` // its executable
}

const tellNode = `JSON.stringify({version: process.versions.node, modules: process.versions.modules, program: require("fs").realpathSync(process.execPath)})`

// nodeProgram is the interpreter in the image.
const nodeProgram = "usr/local/bin/node"

func (s *Store) findNode(ctx context.Context) (nodeInfo, error) {
	return remembered(s, "node", func() (info nodeInfo, err error) {
		file, err := s.lookPath("node")
		if err != nil {
			return info, isolde.Errorf(isolde.CodeUnsupported, "the agent needs Node.js, and there is no node here").
				WithHint("install it from https://nodejs.org or with: apt-get install nodejs npm").WithCause(err)
		}
		if info, err = s.askNode(ctx, file); err != nil {
			return info, isolde.Errorf(isolde.CodeUnsupported, "%s does not run", file).
				WithHint("node --version shows why; put a working one first on PATH").WithCause(err)
		}
		return info, nil
	})
}

// askNode asks a Node.js about itself.
func (s *Store) askNode(ctx context.Context, file string) (info nodeInfo, err error) {
	out, err := s.runTool(ctx, tool{dir: s.tmp, args: []string{file, "-p", tellNode}})
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal([]byte(out), &info)
}

func (*node) base(ctx context.Context, b *build) (layer, error) {
	info, err := b.findNode(ctx)
	if err != nil {
		return layer{}, err
	}
	return b.nodeBase(ctx, info)
}

// nodeBase makes the layer of an interpreter.
func (b *build) nodeBase(ctx context.Context, info nodeInfo) (layer, error) {
	p, err := remembered(b.Store, "node base "+info.Program, func() (*plan, error) {
		t, err := skeleton()
		if err != nil {
			return nil, err
		}
		t.file(nodeProgram, info.Program, 0o755)
		if err := addLibraries(t, info.Program, ""); err != nil {
			return nil, err
		}
		return newPlan(t, "node", info.Version)
	})
	if err != nil {
		return layer{}, err
	}
	return b.keepBase(ctx, "Node.js "+info.Version, p, nil)
}

func (*node) code(ctx context.Context, b *build) (layer, error) {
	info, err := b.findNode(ctx)
	if err != nil {
		return layer{}, err
	}
	wanted, err := readPackages(b.src.Dir, b.scripts)
	if err != nil {
		return layer{}, err
	}
	staged, err := b.stage(ctx, nil)
	if err != nil {
		return layer{}, err
	}
	modules := wanted.key(info, b.scripts)
	inputs := append([]string{"node", info.Version, modules}, b.src.Entrypoint...)
	return b.keepCode(ctx, staged, inputs, func(_ context.Context, dir string) error {
		if err := b.compileEntry(dir, info); err != nil {
			return err
		}
		if modules == "" {
			return nil
		}
		// For the host only; the layer has the packages themselves there.
		return os.Symlink(filepath.Join(b.dir, folderDependencies, modules, "node_modules"), filepath.Join(dir, "node_modules"))
	})
}

// compileEntry checks or bundles the file that starts the agent.
func (b *build) compileEntry(dir string, info nodeInfo) error {
	for _, arg := range b.src.Entrypoint {
		if !nodeEntry(arg) {
			continue
		}
		name, err := inSource(arg)
		if err != nil {
			return err
		}
		if isTypeScript(name) {
			return bundle(dir, name, info.Version)
		}
		return checkSyntax(dir, name)
	}
	return nil
}

// nodePlace is where the command of an agent in JavaScript is to run: in its
// image, or on the host.
type nodePlace struct {
	program string // the interpreter
	code    string // what comes before the names of the agent's own files
	has     func(command string) bool
	bring   string // how to get a command that is not there, with %s for its name
}

// start turns the entry point into a command that runs with the dependencies.
func (*node) start(ctx context.Context, b *build) (start, error) {
	info, err := b.findNode(ctx)
	if err != nil {
		return start{}, err
	}
	return b.startNode(info, nodePlace{
		has:   b.hasModuleCommand,
		bring: "name a file such as agent.ts, or add the package that brings %s to package.json",
	})
}

// startNode says how the agent starts in both places.
func (b *build) startNode(info nodeInfo, place nodePlace) (start, error) {
	place.program = info.Program
	host, err := nodeCommand(b.src.Entrypoint, place)
	if err != nil {
		return start{}, err
	}
	place.program, place.code = "/"+nodeProgram, "/"+codeDir+"/"
	inside, err := nodeCommand(b.src.Entrypoint, place)
	if err != nil {
		return start{}, err
	}
	return start{
		command: inside,
		env:     []string{"PATH=/" + codeDir + "/node_modules/.bin:" + binPath},
		host: &sandbox.HostRoot{
			Code:    filepath.Join(storeMark, b.codeLayer.Folder),
			Command: host,
			Env:     b.hostEnv(),
		},
	}, nil
}

// nodeCommand is the argv of an entry point: a file, or a command that a
// dependency brings, is run by node; "node" stands for itself, with what
// options follow.
func nodeCommand(entrypoint []string, at nodePlace) ([]string, error) {
	command := []string{at.program, "--enable-source-maps"}
	args := entrypoint
	switch {
	case args[0] == "node" && len(args) == 1:
		return nil, isolde.Errorf(isolde.CodeInvalid, "the entry point names Node.js, but nothing for it to run").
			WithHint("name a file such as agent.js")
	case args[0] == "node":
		args = args[1:]
	case nodeEntry(args[0]):
	case at.has(args[0]):
		return append(append(command, at.code+"node_modules/.bin/"+args[0]), args[1:]...), nil
	default:
		return nil, isolde.Errorf(isolde.CodeInvalid, "entry point %s is neither a JavaScript or TypeScript file in the folder nor a command of its dependencies", args[0]).
			WithHint(at.bring, args[0])
	}
	file := slices.IndexFunc(args, nodeEntry)
	if file < 0 {
		return append(command, args...), nil
	}
	name, err := inSource(args[file])
	if err != nil {
		return nil, err
	}
	if isTypeScript(name) {
		name = bundleName(name)
	}
	command = append(command, args[:file]...)
	return append(append(command, at.code+name), args[file+1:]...), nil
}

// hasModuleCommand tells whether the dependencies bring a command.
func (b *build) hasModuleCommand(name string) bool {
	return b.dependencyLayer.Folder != "" && !strings.Contains(name, "/") &&
		exists(filepath.Join(b.dir, b.dependencyLayer.Folder, "node_modules", ".bin", name))
}
