package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// golang builds a static binary; its images hold that, the agent's other
// files and what every image has.
type golang struct{ noDependencies }

// goBinary is the agent's name in its folder.
const goBinary = "agent"

// noDependencies is embedded by languages without a dependency layer.
type noDependencies struct{}

func (noDependencies) dependencies(context.Context, *build) (layer, error) { return layer{}, nil }

func (*golang) base(ctx context.Context, b *build) (layer, error) {
	p, err := remembered(b.Store, "static", func() (*plan, error) {
		t, err := skeleton()
		if err != nil {
			return nil, err
		}
		return newPlan(t)
	})
	if err != nil {
		return layer{}, err
	}
	return b.keepBase(ctx, "certificates and time zones", p, nil)
}

func (*golang) code(ctx context.Context, b *build) (layer, error) {
	staged, err := b.stage(ctx, goSource)
	if err != nil {
		return layer{}, err
	}
	b.report.say("code", false, "compiling")
	if err := b.compileGo(ctx, filepath.Join(staged, goBinary)); err != nil {
		os.RemoveAll(staged)
		return layer{}, err
	}
	return b.keepCode(ctx, staged, []string{"go"}, nil)
}

// goSource names what only the compiler needs.
func goSource(name string) bool {
	switch name {
	case "go.mod", "go.sum", "go.work", "go.work.sum", "vendor", localModules, goBinary:
		return true
	}
	return strings.HasSuffix(name, ".go") || strings.HasPrefix(name, "vendor/") || strings.HasPrefix(name, localModules+"/")
}

// compileGo builds the agent's package where it is, so that it may belong to
// a module that begins above it. Nothing of the source runs: no cgo, no
// generators, no version control.
func (b *build) compileGo(ctx context.Context, to string) error {
	goTool, err := b.lookPath("go")
	if err != nil {
		return isolde.Errorf(isolde.CodeUnsupported, "the agent is written in Go, and there is no go command on the server").
			WithHint("install it from https://go.dev/dl/ or with: apt-get install golang-go").WithCause(err)
	}
	pkg, err := b.goPackage()
	if err != nil {
		return err
	}
	_, err = b.runTool(ctx, tool{
		dir:  b.src.Dir,
		args: []string{goTool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", to, pkg},
		env:  []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH},
	})
	if failed, ok := errors.AsType[*toolError](err); ok {
		return isolde.Errorf(isolde.CodeInvalid, "the agent does not compile:\n%s", lastLines(failed.output, 20)).
			WithHint("go build in the agent's folder shows the same").WithCause(err)
	}
	if err != nil {
		return err
	}
	if info, err := os.Stat(to); err != nil || !info.Mode().IsRegular() || info.Mode()&0o100 == 0 {
		return isolde.Errorf(isolde.CodeInvalid, "the Go package %s of the agent is not a program", pkg).
			WithHint("it needs package main with a func main")
	}
	return nil
}

// goPackage is the package to build: the entry point, a folder or a file of
// it, and "." when there is none.
func (b *build) goPackage() (string, error) {
	if len(b.src.Entrypoint) == 0 {
		return ".", nil
	}
	name, err := inSource(b.src.Entrypoint[0])
	if err != nil {
		return "", err
	}
	info, err := os.Stat(filepath.Join(b.src.Dir, filepath.FromSlash(name)))
	if err != nil {
		files, _ := topFiles(b.src.Dir)
		return "", missingEntry(&b.src, name, files)
	}
	if !info.IsDir() {
		name = filepath.ToSlash(filepath.Dir(name))
	}
	return "./" + name, nil
}

func (*golang) start(_ context.Context, b *build) (start, error) {
	args := []string{}
	if len(b.src.Entrypoint) > 1 {
		args = b.src.Entrypoint[1:]
	}
	return start{
		command: append([]string{"/" + codeDir + "/" + goBinary}, args...),
		env:     []string{"PATH=" + binPath},
		host: &sandbox.HostRoot{
			Code:    filepath.Join(storeMark, b.codeLayer.Folder),
			Command: append([]string{"./" + goBinary}, args...),
			Env:     b.hostEnv(),
		},
	}, nil
}
