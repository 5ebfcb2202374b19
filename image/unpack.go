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
	"sync"
	"sync/atomic"

	"github.com/isolde-run/isolde"
)

// maxEntries bounds how many entries an unpacked archive may have.
const maxEntries = 200_000

// maxDepth bounds the folders in a name, so that names cost no more than they
// are long; maxName bounds its bytes, so that the system can open it in any
// folder.
const (
	maxDepth = 100
	maxName  = 2048
)

func unpack(r io.Reader, dir string, limit int64) error {
	u, err := newUnpacker(dir, limit, advice{
		anew:    "pack the agent's folder with isolde deploy, or without that entry",
		smaller: "leave out what the agent does not need, by naming it in " + ignoreFile,
	})
	if err != nil {
		return err
	}
	defer u.root.Close()
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
			return u.tooMany()
		}
		if err := u.entry(in, header); err != nil {
			return err
		}
	}
}

func broken(err error) error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive is broken: %v", err).WithCause(err)
}

// unpacker writes entries below root, and nowhere else: names are checked
// first, and os.Root holds to it whatever a name means to the file system.
// Links are made last, so that no entry can be written through one.
type unpacker struct {
	root   *os.Root
	limit  int64
	left   atomic.Int64 // of limit
	seen   map[string]fs.FileMode
	todo   []symlink
	advice advice
}

// symlink is a link to be made.
type symlink struct{ name, target string }

// advice is what those who made a refused archive are told to do.
type advice struct {
	anew    string // about an entry that should not be in it
	smaller string // when it has too much
}

func newUnpacker(dir string, limit int64, a advice) (*unpacker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	u := &unpacker{root: root, limit: limit, seen: map[string]fs.FileMode{}, advice: a}
	u.left.Store(limit)
	return u, nil
}

// entry writes one entry of a tar stream.
func (u *unpacker) entry(in io.Reader, header *tar.Header) error {
	var kind fs.FileMode
	switch header.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		kind = fs.ModeDir
	case tar.TypeSymlink:
		kind = fs.ModeSymlink
	case tar.TypeLink:
		return u.refuse(header.Name, "is a hard link")
	default:
		kind = fs.ModeIrregular
	}
	name, err := u.place(header.Name, kind)
	if err != nil || name == "." {
		return err
	}
	switch kind {
	case fs.ModeDir:
		return nil
	case fs.ModeSymlink:
		return u.link(name, header.Linkname)
	}
	if header.Size > u.left.Load() {
		return u.tooLarge()
	}
	return u.file(name, fs.FileMode(header.Mode), in, broken)
}

// place checks the name and the kind of an entry, makes the folders that it is
// in, itself if it is one, and returns its clean name. "." is the folder that
// all goes to.
func (u *unpacker) place(raw string, kind fs.FileMode) (name string, err error) {
	name, err = u.entryName(raw)
	if err != nil || name == "." {
		return name, err
	}
	if kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink {
		return "", u.refuse(name, "is neither a file, a folder nor a link")
	}
	if known, ok := u.seen[name]; ok && (known != fs.ModeDir || kind != fs.ModeDir) {
		return "", u.refuse(name, "is there twice")
	}
	dir := name
	if kind != fs.ModeDir {
		u.seen[name] = kind
		dir = path.Dir(name)
	}
	if err := u.folders(dir, name); err != nil {
		return "", err
	}
	if len(u.seen) > maxEntries { // folders that no entry is for count, too
		return "", u.tooMany()
	}
	return name, nil
}

// entryName checks and cleans a name.
func (u *unpacker) entryName(name string) (string, error) {
	if strings.ContainsAny(name, "\x00\\") || name == "" {
		return "", u.refuse(name, "has a name that is not possible")
	}
	if path.IsAbs(name) {
		return "", u.refuse(name, "has an absolute name")
	}
	clean := path.Clean(name)
	elements := strings.Split(clean, "/")
	if elements[0] == ".." {
		return "", u.refuse(name, "leads out of the folder")
	}
	if len(elements) > maxDepth {
		return "", u.refuse(name, fmt.Sprintf("is in more than %d folders", maxDepth))
	}
	if len(clean) > maxName {
		return "", u.refuse(name, fmt.Sprintf("has a path longer than %d bytes", maxName))
	}
	for _, e := range elements {
		if len(e) > 255 {
			return "", u.refuse(name, "has a name longer than 255 bytes")
		}
	}
	return clean, nil
}

// folders makes dir and the folders above it, for the entry name. None of them
// may be anything else.
func (u *unpacker) folders(dir, name string) error {
	for at := dir; at != "."; at = path.Dir(at) {
		kind, ok := u.seen[at]
		switch {
		case ok && kind != fs.ModeDir:
			return u.refuse(name, "is below "+shorten(at)+", which is no folder")
		case ok && at == dir:
			return nil // it was made, with all above it
		}
		u.seen[at] = fs.ModeDir
	}
	if dir == "." {
		return nil
	}
	if err := u.root.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", shorten(name), err)
	}
	return nil
}

// file writes a file that has been given its place; blame makes an error of
// one that comes from in. What is really written counts toward the limit,
// whatever was said of it before. Files may be written at the same time.
func (u *unpacker) file(name string, mode fs.FileMode, in io.Reader, blame func(error) error) (err error) {
	mode = plainMode(mode)
	out, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return u.refuse(name, "is there twice, for this machine, which does not tell its name from another one's")
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", shorten(name), err)
	}
	w := &countedWriter{to: out, left: &u.left}
	buffer := copyBuffers.Get().(*[]byte)
	_, err = io.CopyBuffer(w, in, *buffer)
	copyBuffers.Put(buffer)
	switch {
	case errors.Is(w.err, errLimit):
		err = u.tooLarge()
	case w.err == nil && err != nil:
		err = blame(err)
	default:
		if err = errors.Join(w.err, out.Chmod(mode)); err != nil {
			err = fmt.Errorf("unpack %s: %w", shorten(name), err)
		}
	}
	if closed := out.Close(); closed != nil && err == nil {
		err = fmt.Errorf("unpack %s: %w", shorten(name), closed)
	}
	return err
}

// copyBuffers are what files are copied through.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

var errLimit = errors.New("the limit is reached")

// countedWriter takes what it writes from what is left.
type countedWriter struct {
	to   io.Writer
	left *atomic.Int64
	err  error // why it wrote no more
}

func (w *countedWriter) Write(p []byte) (n int, err error) {
	if w.left.Add(-int64(len(p))) < 0 {
		w.err = errLimit
		return 0, w.err
	}
	n, w.err = w.to.Write(p)
	return n, w.err
}

// link notes a link to be made.
func (u *unpacker) link(name, target string) error {
	if !staysInside(name, target) {
		return u.leadsOut(name, target)
	}
	u.todo = append(u.todo, symlink{name, target})
	return nil
}

// links makes the symbolic links, and takes all away again if one of them
// leads out of the folder by way of the others.
func (u *unpacker) links() error {
	for _, l := range u.todo {
		if err := u.root.Symlink(l.target, l.name); err != nil {
			return fmt.Errorf("unpack %s: %w", shorten(l.name), err)
		}
	}
	for _, l := range u.todo {
		if linkStays(u.root, l.name, l.target) {
			continue
		}
		for _, made := range u.todo {
			_ = u.root.Remove(made.name) // the folder goes as a whole
		}
		return u.leadsOut(l.name, l.target)
	}
	return nil
}

func (u *unpacker) leadsOut(name, target string) error {
	return u.refuse(name, fmt.Sprintf("is a link that leads out of the folder, to %q", shorten(target)))
}

func (u *unpacker) refuse(name, why string) error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive's entry %q %s", shorten(name), why).WithHint("%s", u.advice.anew)
}

func (u *unpacker) tooMany() error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive has more than %d entries", maxEntries).WithHint("%s", u.advice.smaller)
}

func (u *unpacker) tooLarge() error {
	return isolde.Errorf(isolde.CodeInvalid, "the archive has more than %s", bound(u.limit)).WithHint("%s", u.advice.smaller)
}

// bound writes a limit as it is documented.
func bound(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return megabytes(n)
}

func shorten(s string) string {
	if len(s) > 100 {
		return s[:97] + "..."
	}
	return s
}
