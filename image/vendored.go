package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// vendored takes the source as an AWS code artifact: a folder that is complete
// as it is, with the agent's packages at its root. What can be wrong with it
// is found before anything is made of it.
func (b *build) vendored(ctx context.Context) (language, error) {
	if len(b.src.Entrypoint) == 0 {
		return nil, isolde.Errorf(isolde.CodeInvalid, "the artifact has no entry point").
			WithHint("name the file that starts the agent, e.g. agent.py")
	}
	b.src.Language = b.src.Runtime.Language()
	if b.src.Language == isolde.LanguageNode {
		if err := requireVendored(b.src, nodeEntry); err != nil {
			return nil, err
		}
		info, err := b.findRuntimeNode(ctx, b.src.Runtime)
		if err != nil {
			return nil, err
		}
		return newVendoredNode(b.src, info)
	}
	if err := requireVendored(b.src, pythonEntry); err != nil {
		return nil, err
	}
	info, err := b.findRuntimePython(ctx, b.src.Runtime)
	if err != nil {
		return nil, err
	}
	return newVendoredPython(b.src, info)
}

// requireVendored checks that the file that the entry point names is there.
func requireVendored(src Source, matches func(string) bool) error {
	at := slices.IndexFunc(src.Entrypoint, matches)
	if at < 0 {
		return nil
	}
	name, err := inSource(src.Entrypoint[at])
	if err != nil {
		return err
	}
	if isFile(filepath.Join(src.Dir, filepath.FromSlash(name))) {
		return nil
	}
	all, err := os.ReadDir(src.Dir)
	if err != nil {
		return err
	}
	if folder := folderWith(src.Dir, all, name); folder != "" {
		return isolde.Errorf(isolde.CodeInvalid, "entry point %s is in the folder %s/ of the archive, not at its root", name, folder).
			WithHint("zip the folder's contents: cd %s && zip -r ../agent.zip .", folder)
	}
	return isolde.Errorf(isolde.CodeInvalid, "entry point %s: there is no such file in the archive", name).
		WithHint("name a file that exists; the archive holds %s", list(nearest(all, name), 6))
}

// folderWith finds the one folder at the root that holds a file, the most
// usual mistake in making an archive.
func folderWith(dir string, all []fs.DirEntry, name string) (found string) {
	for _, e := range all {
		if e.IsDir() && isFile(filepath.Join(dir, e.Name(), filepath.FromSlash(name))) {
			if found != "" {
				return ""
			}
			found = e.Name()
		}
	}
	return found
}

// nearest lists what is at the root, first what name may have meant.
func nearest(all []fs.DirEntry, name string) (names []string) {
	for _, e := range all {
		if e.IsDir() {
			names = append(names, e.Name()+"/")
		} else {
			names = append(names, e.Name())
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		if x, y := path.Ext(a) == path.Ext(name), path.Ext(b) == path.Ext(name); x != y {
			if x {
				return -1
			}
			return 1
		}
		return distance(a, path.Base(name)) - distance(b, path.Base(name))
	})
	return names
}

func isFile(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// eachFile calls do for all regular files below dir, by their names in it.
func eachFile(dir string, do func(name string) error) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		return errors.Join(err, do(filepath.ToSlash(rel)))
	})
}

// vendoredNode builds an agent in JavaScript whose node_modules are in its
// folder.
type vendoredNode struct {
	noDependencies
	info nodeInfo
}

func newVendoredNode(src Source, info nodeInfo) (*vendoredNode, error) {
	v := &vendoredNode{info: info}
	if _, err := nodeCommand(src.Entrypoint, v.place(src.Dir)); err != nil {
		return nil, err
	}
	return v, checkAddons(src.Dir, info)
}

func (v *vendoredNode) place(dir string) nodePlace {
	return nodePlace{
		has: func(name string) bool {
			return !strings.Contains(name, "/") && exists(filepath.Join(dir, "node_modules/.bin", name))
		},
		bring: "name a file such as agent.js, or put the package that brings %s into node_modules at the archive's root",
	}
}

func (v *vendoredNode) base(ctx context.Context, b *build) (layer, error) {
	return b.nodeBase(ctx, v.info)
}

func (v *vendoredNode) code(ctx context.Context, b *build) (layer, error) {
	staged, err := b.stage(ctx, nil)
	if err != nil {
		return layer{}, err
	}
	inputs := append([]string{"vendored node", v.info.Version}, b.src.Entrypoint...)
	return b.keepCode(ctx, staged, inputs, func(_ context.Context, dir string) error {
		return b.compileEntry(dir, v.info)
	})
}

func (v *vendoredNode) start(_ context.Context, b *build) (start, error) {
	return b.startNode(v.info, v.place(b.src.Dir))
}
