package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/isolde-run/isolde"
)

// maxEntries bounds how many entries an unpacked stream may have.
const maxEntries = 200_000

// maxDepth bounds the folders in a name, so that names cost no more than they
// are long.
const maxDepth = 100

func unpack(r io.Reader, dir string, limit int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	u := &unpacker{root: root, limit: limit, left: limit, seen: map[string]fs.FileMode{}}
	in := tar.NewReader(r)
	for n := 0; ; n++ {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return u.links()
		}
		if err != nil {
			return broken(err)
		}
		if n == maxEntries {
			return tooMany()
		}
		if err := u.entry(in, header); err != nil {
			return err
		}
	}
}

func tooMany() error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive has more than %d entries", maxEntries).
		WithHint("leave out what the agent does not need, by naming it in %s", ignoreFile)
}

func broken(err error) error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive is broken: %v", err).WithCause(err)
}

// unpacker writes entries below root, and nowhere else: names are checked
// first, and os.Root holds to it whatever a name means to the file system.
// Links are made last, so that no entry can be written through one.
type unpacker struct {
	root  *os.Root
	limit int64
	left  int64
	seen  map[string]fs.FileMode
	todo  []*tar.Header
}

func (u *unpacker) entry(in io.Reader, header *tar.Header) error {
	name, err := entryName(header.Name)
	if err != nil || name == "." {
		return err
	}
	if kind, ok := u.seen[name]; ok && (kind != fs.ModeDir || header.Typeflag != tar.TypeDir) {
		return refuse(name, "is there twice")
	}
	if err := u.parents(name); err != nil {
		return err
	}
	if len(u.seen) > maxEntries { // folders that no entry is for count, too
		return tooMany()
	}
	switch header.Typeflag {
	case tar.TypeDir:
		u.seen[name] = fs.ModeDir
		return u.root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		u.seen[name] = 0
		return u.file(in, name, header)
	case tar.TypeSymlink:
		if !staysInside(name, header.Linkname) {
			return leadsOut(name, header.Linkname)
		}
		u.seen[name] = fs.ModeSymlink
		u.todo = append(u.todo, header)
		return nil
	case tar.TypeLink:
		return refuse(name, "is a hard link")
	default:
		return refuse(name, "is neither a file, a folder nor a link")
	}
}

// entryName checks and cleans a name.
func entryName(name string) (string, error) {
	if strings.ContainsAny(name, "\x00\\") || name == "" {
		return "", refuse(name, "has a name that is not possible")
	}
	if path.IsAbs(name) {
		return "", refuse(name, "has an absolute name")
	}
	clean := path.Clean(name)
	elements := strings.Split(clean, "/")
	if elements[0] == ".." {
		return "", refuse(name, "leads out of the folder")
	}
	if len(elements) > maxDepth {
		return "", refuse(name, fmt.Sprintf("is in more than %d folders", maxDepth))
	}
	for _, e := range elements {
		if len(e) > 255 {
			return "", refuse(name, "has a name longer than 255 bytes")
		}
	}
	return clean, nil
}

// parents makes the folders that hold name, which must not be anything else.
func (u *unpacker) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	for at := dir; at != "."; at = path.Dir(at) {
		if kind, ok := u.seen[at]; ok && kind != fs.ModeDir {
			return refuse(name, "is below "+shorten(at)+", which is no folder")
		}
		u.seen[at] = fs.ModeDir
	}
	return u.root.MkdirAll(dir, 0o755)
}

func (u *unpacker) file(in io.Reader, name string, header *tar.Header) error {
	if header.Size > u.left {
		return isolde.Errorf(isolde.CodeInvalid, "the archive has more than %s", megabytes(u.limit)).
			WithHint("leave out what the agent does not need, by naming it in %s", ignoreFile)
	}
	u.left -= header.Size
	mode := plainMode(fs.FileMode(header.Mode))
	out, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", shorten(name), err)
	}
	n, err := io.Copy(out, in)
	if err == nil && n != header.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		out.Close()
		return broken(err)
	}
	if err := errors.Join(out.Chmod(mode), out.Close()); err != nil {
		return fmt.Errorf("unpack %s: %w", shorten(name), err)
	}
	return nil
}

// links makes the symbolic links, and takes all away again if one of them
// leads out of the folder by way of the others.
func (u *unpacker) links() error {
	for _, header := range u.todo {
		name := path.Clean(header.Name)
		if err := u.root.Symlink(header.Linkname, name); err != nil {
			return fmt.Errorf("unpack %s: %w", shorten(name), err)
		}
	}
	for _, header := range u.todo {
		name := path.Clean(header.Name)
		if linkStays(u.root, name, header.Linkname) {
			continue
		}
		for _, made := range u.todo {
			_ = u.root.Remove(path.Clean(made.Name)) // the folder goes as a whole
		}
		return leadsOut(name, header.Linkname)
	}
	return nil
}

func leadsOut(name, target string) error {
	return refuse(name, fmt.Sprintf("is a link that leads out of the folder, to %q", shorten(target)))
}

func refuse(name, why string) error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive's entry %q %s", shorten(name), why).
		WithHint("pack the agent's folder with isolde deploy, or without that entry")
}

func shorten(s string) string {
	if len(s) > 100 {
		return s[:97] + "..."
	}
	return s
}
