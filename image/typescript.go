package image

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/isolde-run/isolde"
)

func isTypeScript(name string) bool {
	return strings.HasSuffix(name, ".ts") || strings.HasSuffix(name, ".mts") || strings.HasSuffix(name, ".cts")
}

// bundleName is what a TypeScript file becomes: an ECMAScript module beside
// it, so that paths relative to it stay true, under a name nobody uses.
func bundleName(name string) string {
	return strings.TrimSuffix(name, path.Ext(name)) + ".isolde.mjs"
}

// bundle compiles a TypeScript file, with the files of the folder it imports,
// for the given version of Node.js. Packages stay imports. Types are not
// checked, as in every tool that only runs TypeScript.
func bundle(dir, name, version string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir: dir,
		EntryPoints:   []string{"./" + name},
		Outfile:       filepath.Join(dir, filepath.FromSlash(bundleName(name))),
		Bundle:        true,
		Format:        api.FormatESModule,
		Platform:      api.PlatformNode,
		Packages:      api.PackagesExternal,
		Sourcemap:     api.SourceMapLinked,
		Engines:       []api.Engine{{Name: api.EngineNode, Version: version}},
		Plugins:       []api.Plugin{onlyBelow(dir)},
		LogLevel:      api.LogLevelSilent,
		Write:         true,
	})
	return syntaxError(result.Errors)
}

// maxModule bounds the files that are parsed, which takes ten times their size
// of memory, or more.
const maxModule = 32 << 20

func tooLong(name string) error {
	return isolde.Errorf(isolde.CodeInvalid, "%s has more than %s, too much for a source", name, megabytes(maxModule)).
		WithHint("keep data in files of its own")
}

// onlyBelow refuses imports of files outside of a folder: a source must not
// bring this machine's files into an image.
func onlyBelow(dir string) api.Plugin {
	return api.Plugin{Name: "isolde", Setup: func(b api.PluginBuild) {
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: "file"}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
			real, err := filepath.EvalSymlinks(args.Path)
			if err != nil {
				return api.OnLoadResult{}, err
			}
			if rel, err := filepath.Rel(dir, real); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
				return api.OnLoadResult{}, fmt.Errorf("%s is outside of the agent's folder", args.Path)
			}
			if info, err := os.Stat(real); err != nil || info.Size() > maxModule {
				return api.OnLoadResult{}, errors.Join(err, tooLong(filepath.Base(real)))
			}
			return api.OnLoadResult{}, nil
		})
	}}
}

// checkSyntax parses a JavaScript file, and nothing else.
func checkSyntax(dir, name string) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if info, err := os.Stat(file); err == nil && info.Size() > maxModule {
		return tooLong(name)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	result := api.Transform(string(text), api.TransformOptions{Sourcefile: name, Loader: api.LoaderJS, LogLevel: api.LogLevelSilent})
	return syntaxError(result.Errors)
}

func syntaxError(errs []api.Message) error {
	if len(errs) == 0 {
		return nil
	}
	var lines []string
	for i, e := range errs {
		if i == 10 {
			lines = append(lines, fmt.Sprintf("and %d more", len(errs)-i))
			break
		}
		at := ""
		if l := e.Location; l != nil {
			at = fmt.Sprintf("%s:%d:%d: ", l.File, l.Line, l.Column+1)
		}
		lines = append(lines, at+e.Text)
	}
	return isolde.Errorf(isolde.CodeInvalid, "the agent does not compile: %s", strings.Join(lines, "\n")).
		WithHint("correct that line; imports of packages must be in package.json, imports of files in the agent's folder")
}
