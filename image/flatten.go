package image

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isolde-run/isolde/image/erofs"
)

// The marks by which a layer takes away what layers below it hold, from the
// OCI image specification.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// maxLinks bounds how many links a name may lead through.
const maxLinks = 40

// flattener lays tar layers over each other. Devices, sockets and extended
// attributes are left out: a sandbox has devices of its own, and gVisor reads
// no attributes from an image.
type flattener struct {
	root  *erofs.File
	level map[*erofs.File]int // the layer that an inode came from
	layer int
}

// openLayer is an uncompressed tar layer and what is in it.
type openLayer struct {
	file  *os.File
	items []item
}

// flatten makes the tree of layers, lowest first. The tree reads its data from
// their files, so they stay open until it is written.
func flatten(layers []openLayer) (*erofs.File, error) {
	f := &flattener{level: map[*erofs.File]int{}}
	f.root = f.newDir()
	for i, l := range layers {
		f.layer = i + 1
		for j := range l.items {
			if err := f.add(l.file, &l.items[j]); err != nil {
				return nil, fmt.Errorf("layer %d: entry %q: %w", i+1, l.items[j].name, err)
			}
		}
	}
	return f.root, nil
}

func (f *flattener) newDir() *erofs.File {
	d := &erofs.File{Mode: fs.ModeDir | 0o755, ModTime: epoch, Children: map[string]*erofs.File{}}
	f.level[d] = f.layer
	return d
}

func (f *flattener) add(l *os.File, it *item) error {
	name := path.Clean("/" + it.name)
	if name == "/" {
		if it.kind == tar.TypeDir {
			it.setMeta(f.root)
		}
		return nil
	}
	parent, err := f.parent(name, true)
	if err != nil {
		return err
	}
	base := path.Base(name)
	switch {
	case base == opaque:
		f.clear(parent)
		return nil
	case strings.HasPrefix(base, whiteout):
		f.hide(parent, strings.TrimPrefix(base, whiteout))
		return nil
	}
	return f.put(l, it, parent, base)
}

func (f *flattener) put(l *os.File, it *item, parent *erofs.File, base string) error {
	var n *erofs.File
	switch it.kind {
	case tar.TypeDir:
		if n = parent.Children[base]; n == nil || !n.Mode.IsDir() {
			n = f.newDir()
		}
	case tar.TypeReg:
		n = &erofs.File{Source: l, Offset: it.offset, Size: it.size}
	case tar.TypeSymlink:
		n = &erofs.File{Target: it.link}
	case tar.TypeLink:
		target, err := f.find(it.link)
		if err != nil {
			return err
		}
		parent.Children[base] = target
		return nil
	default:
		return nil
	}
	it.setMeta(n)
	f.level[n] = f.layer
	parent.Children[base] = n
	return nil
}

// find is the inode that a hard link names.
func (f *flattener) find(name string) (*erofs.File, error) {
	name = path.Clean("/" + name)
	parent, err := f.parent(name, false)
	if err != nil {
		return nil, err
	}
	n := parent.Children[path.Base(name)]
	if n == nil || n.Mode.IsDir() {
		return nil, fmt.Errorf("hard link to %q, which is no file in the image", name)
	}
	return n, nil
}

// parent is the directory that holds name, through links, which stay inside
// of the root as in a chroot. Missing directories are made if asked for.
func (f *flattener) parent(name string, create bool) (*erofs.File, error) {
	stack := []*erofs.File{f.root}
	rest := strings.Split(strings.Trim(path.Dir(name), "/"), "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		at := stack[len(stack)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		next := at.Children[part]
		switch {
		case next == nil && !create:
			return nil, fmt.Errorf("no directory %q", part)
		case next == nil || next.Mode.IsRegular():
			next = f.newDir()
			at.Children[part] = next
		case next.Mode.Type() == fs.ModeSymlink:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("more than %d links on the way", maxLinks)
			}
			if path.IsAbs(next.Target) {
				stack = stack[:1]
			}
			rest = append(strings.Split(next.Target, "/"), rest...)
			continue
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}

// clear takes away what lower layers put into a directory.
func (f *flattener) clear(dir *erofs.File) {
	for _, name := range slices.Collect(maps.Keys(dir.Children)) {
		f.hide(dir, name)
	}
}

// hide takes away what lower layers have under a name; what this layer itself
// put there stays, whichever of the two came first in it.
func (f *flattener) hide(dir *erofs.File, name string) {
	n := dir.Children[name]
	if n == nil {
		return
	}
	if n.Mode.IsDir() {
		f.clear(n)
		if len(n.Children) > 0 {
			return
		}
	}
	if f.level[n] < f.layer {
		delete(dir.Children, name)
	}
}
