package image

import (
	"archive/tar"
	"errors"
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

// The bounds of what names may cost: how many links one leads through, how
// deep folders stand in each other, and how many steps all names of an image
// take together. A real image takes some ten steps for each entry.
const (
	maxLinks   = 40
	maxFolders = 1000
	maxSteps   = 50_000_000

	maxNamePart = 255  // bytes between slashes
	maxTarget   = 4095 // bytes of a symbolic link
)

var (
	errName = fmt.Errorf("a name has more than %d bytes between slashes", maxNamePart)
	// errSteps is the error of an image that is made to cost time.
	errSteps = errors.New("its names lead too far around")
)

// flattener lays tar layers over each other. Devices, sockets and extended
// attributes are left out: a sandbox has devices of its own, and gVisor reads
// no attributes from an image.
type flattener struct {
	root   *erofs.File
	level  map[*erofs.File]int // the layer that an inode came from
	linked map[linkName]int    // the layer that a further name of an inode came from
	layer  int
	made   int // directories that no entry is for
	steps  int
}

// linkName is a hard link by its place.
type linkName struct {
	dir  *erofs.File
	base string
}

// openLayer is an uncompressed tar layer and what is in it.
type openLayer struct {
	file  *os.File
	items []item
}

// flatten makes the tree of layers, lowest first. The tree reads its data from
// their files, so they stay open until it is written.
func flatten(layers []openLayer) (*erofs.File, error) {
	f := newFlattener()
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

func newFlattener() *flattener {
	f := &flattener{level: map[*erofs.File]int{}, linked: map[linkName]int{}}
	f.root = f.newDir()
	return f
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
	parent, err := f.walk(path.Dir(name), true)
	if err != nil {
		return err
	}
	base := path.Base(name)
	switch {
	case len(base) > maxNamePart:
		return errName
	case base == opaque:
		return f.clear(parent)
	case strings.HasPrefix(base, whiteout):
		return f.hide(parent, strings.TrimPrefix(base, whiteout))
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
		if len(it.link) == 0 || len(it.link) > maxTarget {
			return fmt.Errorf("a link to a name of %d bytes; 1 to %d are possible", len(it.link), maxTarget)
		}
		n = &erofs.File{Target: it.link}
	case tar.TypeLink:
		target, err := f.find(it.link)
		if err != nil {
			return err
		}
		parent.Children[base] = target
		f.linked[linkName{parent, base}] = f.layer
		return nil
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		delete(parent.Children, base) // it takes the place of what lower layers have
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
	parent, err := f.walk(path.Dir(name), false)
	if err != nil {
		return nil, err
	}
	n := parent.Children[path.Base(name)]
	if n == nil || n.Mode.IsDir() {
		return nil, fmt.Errorf("hard link to %q, which is no file in the image", name)
	}
	return n, nil
}

// walk is the directory of a name, through links, which stay inside of the
// root as in a chroot. Directories that are missing, or files in their place,
// are made if asked for.
func (f *flattener) walk(name string, create bool) (*erofs.File, error) {
	n, err := f.lookup(name, create)
	if err == nil && !n.Mode.IsDir() {
		return nil, fmt.Errorf("%q is no directory", name)
	}
	return n, err
}

// lookup is walk for a name of any kind.
func (f *flattener) lookup(name string, create bool) (*erofs.File, error) {
	stack := []*erofs.File{f.root}
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if err := f.step(1); err != nil {
			return nil, err
		}
		switch part {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		at := stack[len(stack)-1]
		next := at.Children[part]
		if next != nil && next.Mode.Type() == fs.ModeSymlink {
			if links++; links > maxLinks {
				return nil, fmt.Errorf("more than %d links on the way", maxLinks)
			}
			if path.IsAbs(next.Target) {
				stack = stack[:1]
			}
			rest = append(strings.Split(next.Target, "/"), rest...)
			if err := f.step(len(rest)); err != nil {
				return nil, err
			}
			continue
		}
		switch {
		case create && len(part) > maxNamePart:
			return nil, errName
		case create && (next == nil || !next.Mode.IsDir()):
			next = f.newDir()
			at.Children[part] = next
			f.made++
		case next == nil || (!next.Mode.IsDir() && len(rest) > 0):
			return nil, fmt.Errorf("no directory %q", part)
		}
		if stack = append(stack, next); len(stack) > maxFolders {
			return nil, fmt.Errorf("more than %d folders in each other", maxFolders)
		}
	}
	return stack[len(stack)-1], nil
}

func (f *flattener) step(n int) error {
	if f.steps += n; f.steps > maxSteps {
		return errSteps
	}
	return nil
}

// clear takes away what lower layers put into a directory.
func (f *flattener) clear(dir *erofs.File) error {
	if err := f.step(len(dir.Children)); err != nil {
		return err
	}
	for _, name := range slices.Collect(maps.Keys(dir.Children)) {
		if err := f.hide(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// hide takes away what lower layers have under a name; what this layer itself
// put there stays, whichever of the two came first in it.
func (f *flattener) hide(dir *erofs.File, name string) error {
	n := dir.Children[name]
	if n == nil {
		return nil
	}
	if n.Mode.IsDir() {
		if err := f.clear(n); err != nil || len(n.Children) > 0 {
			return err
		}
	}
	if f.level[n] < f.layer && f.linked[linkName{dir, name}] < f.layer {
		delete(dir.Children, name)
	}
	return nil
}
