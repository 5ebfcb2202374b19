package cli

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

// untarred is what came of an archive.
type untarred struct {
	skipped []string // what is neither a file nor a folder, the first few
	more    int      // skipped beyond those
}

// maxNamed is how many skipped entries are named.
const maxNamed = 5

// untar writes the files and folders of an archive into dir, which is new. The
// archive comes out of a sandbox, whose agent may say anything in it: nothing
// is written outside of dir, no link, device or special mode is made, and all
// must be below top.
func untar(r io.Reader, dir, top string) (out untarred, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return out, err
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		name := path.Clean(h.Name)
		if first, _, _ := strings.Cut(name, "/"); first != top || !fs.ValidPath(name) {
			return out, isolde.Errorf(isolde.CodeAgent, "the session sent %q, which is not in %q", h.Name, top).
				WithHint("nothing was kept; mistrust what runs in that session")
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = untarFile(root, name, h, in)
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		default:
			if len(out.skipped) < maxNamed {
				out.skipped = append(out.skipped, name)
			} else {
				out.more++
			}
		}
		if err != nil {
			return out, fmt.Errorf("write %s: %w", name, err)
		}
	}
}

func untarFile(root *os.Root, name string, h *tar.Header, in io.Reader) (err error) {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Chtimes(name, h.ModTime, h.ModTime)
	}
	return err
}

// tarTree writes a file or a folder as an archive whose names begin with top.
// Links are written as links.
func tarTree(w io.Writer, from, top string) error {
	out := tar.NewWriter(w)
	if err := tarEntries(out, from, top); err != nil {
		return err
	}
	return out.Close()
}

func tarEntries(out *tar.Writer, from, name string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(from); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err // a socket
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	switch {
	case info.IsDir():
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := tarEntries(out, from+"/"+e.Name(), name+"/"+e.Name()); err != nil {
				return err
			}
		}
		return nil
	case info.Mode().IsRegular():
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(out, f, info.Size()) // a file that shrinks meanwhile is an error
		return err
	}
	return nil
}
