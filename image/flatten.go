package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
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

// flatten makes the tree of uncompressed tar layers, lowest first. The tree
// reads its data from them, so they stay open until it is written.
func flatten(layers []*os.File) (*erofs.File, error) {
	f := &flattener{level: map[*erofs.File]int{}}
	f.root = f.newDir()
	for i, l := range layers {
		f.layer = i + 1
		if err := f.apply(l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return f.root, nil
}

func (f *flattener) newDir() *erofs.File {
	d := &erofs.File{Mode: fs.ModeDir | 0o755, ModTime: epoch, Children: map[string]*erofs.File{}}
	f.level[d] = f.layer
	return d
}

func (f *flattener) apply(l *os.File) error {
	in := tar.NewReader(l)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.add(l, header); err != nil {
			return fmt.Errorf("entry %q: %w", header.Name, err)
		}
	}
}

func (f *flattener) add(l *os.File, header *tar.Header) error {
	name := path.Clean("/" + header.Name)
	if name == "/" {
		if header.Typeflag == tar.TypeDir {
			setMeta(f.root, header)
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
	return f.put(l, header, parent, base)
}

func (f *flattener) put(l *os.File, header *tar.Header, parent *erofs.File, base string) error {
	var n *erofs.File
	switch header.Typeflag {
	case tar.TypeDir:
		if n = parent.Children[base]; n == nil || !n.Mode.IsDir() {
			n = f.newDir()
		}
	case tar.TypeReg:
		offset, err := l.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if isSparse(header) {
			return errors.New("sparse files are not supported")
		}
		n = &erofs.File{Source: l, Offset: offset, Size: header.Size}
	case tar.TypeSymlink:
		n = &erofs.File{Target: header.Linkname}
	case tar.TypeLink:
		target, err := f.find(header.Linkname)
		if err != nil {
			return err
		}
		parent.Children[base] = target
		return nil
	default:
		return nil
	}
	setMeta(n, header)
	f.level[n] = f.layer
	parent.Children[base] = n
	return nil
}

// isSparse tells a file whose bytes in the archive are not its content.
func isSparse(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return header.Typeflag == tar.TypeGNUSparse
}

func setMeta(n *erofs.File, header *tar.Header) {
	info := header.FileInfo()
	n.Mode = info.Mode()
	n.UID, n.GID = uint32(header.Uid), uint32(header.Gid)
	n.ModTime = header.ModTime
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
	for _, name := range sortedNames(dir) {
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

func sortedNames(dir *erofs.File) []string {
	names := make([]string, 0, len(dir.Children))
	for name := range maps.Keys(dir.Children) {
		names = append(names, name)
	}
	return names
}
