package server

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// BackupManifest is manifest.json, the first file of a backup.
type BackupManifest struct {
	Version      string    `json:"version"` // of the server
	Schema       int       `json:"schema"`  // of the database
	CreatedAt    time.Time `json:"createdAt"`
	Region       string    `json:"region"` // what the server had in its ARNs
	Account      string    `json:"account"`
	DatabaseOnly bool      `json:"databaseOnly,omitempty"`
}

// The names under a data directory.
const (
	databaseFile = "isolde.db"
	imagesDir    = "images"
	objectsDir   = "objects"
	identityFile = "identity.json"
	tempDir      = "tmp"
)

// backup copies a server while it serves.
type backup struct {
	dir      string // the data directory
	copy     func(ctx context.Context, path string) error
	hold     func() (release func()) // keeps all images where they are
	manifest BackupManifest          // but for Schema and CreatedAt
}

// write writes a data directory as a tar stream that [operator.Client.Backup]
// describes. The database is copied first, of one moment: it is what can fail
// for want of space, and nothing was written then. All files it names are
// there already, never change, and are held.
func (b backup) write(ctx context.Context, w io.Writer, databaseOnly bool) error {
	defer b.hold()()
	tmp, err := os.MkdirTemp(filepath.Join(b.dir, tempDir), "backup-")
	if err != nil {
		return fmt.Errorf("create folder for backup: %w", err)
	}
	defer os.RemoveAll(tmp)
	copied := filepath.Join(tmp, databaseFile)
	if err := b.copy(ctx, copied); err != nil {
		return err
	}
	m := b.manifest
	m.CreatedAt, m.DatabaseOnly = time.Now().UTC().Truncate(time.Second), databaseOnly
	if m.Schema, err = schemaOf(copied); err != nil {
		return err
	}
	a := &archive{ctx: ctx, out: tar.NewWriter(w)}
	if err := a.manifest(m); err != nil {
		return err
	}
	if err := a.add(copied, databaseFile); err != nil {
		return err
	}
	if !databaseOnly {
		for _, name := range []string{imagesDir, objectsDir, identityFile} {
			if err := a.top(filepath.Join(b.dir, name), name); err != nil {
				return err
			}
		}
	}
	return a.out.Close()
}

// schemaOf reads the user version in the header of a SQLite file: a big-endian
// number at offset 60 (https://www.sqlite.org/fileformat.html).
func schemaOf(database string) (int, error) {
	f, err := os.Open(database)
	if err != nil {
		return 0, fmt.Errorf("read schema of backup: %w", err)
	}
	defer f.Close()
	var number [4]byte
	if _, err := f.ReadAt(number[:], 60); err != nil {
		return 0, fmt.Errorf("read schema of backup: %w", err)
	}
	return int(binary.BigEndian.Uint32(number[:])), nil
}

// archive writes files to a tar stream.
type archive struct {
	ctx context.Context
	out *tar.Writer
}

func (a *archive) manifest(m BackupManifest) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest of backup: %w", err)
	}
	text = append(text, '\n')
	err = a.out.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "manifest.json", Mode: 0o600, Size: int64(len(text)), ModTime: m.CreatedAt,
	})
	if err == nil {
		_, err = a.out.Write(text)
	}
	return err
}

// top adds what is in a data directory under a name, with all that is in it;
// nothing if it is not there. A link in its place counts as what it leads to.
func (a *archive) top(at, name string) error {
	real, err := filepath.EvalSymlinks(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	if name == identityFile {
		return a.add(real, name)
	}
	return a.tree(tree{real: real, name: name}, ".")
}

// tree is a folder that is added to an archive.
type tree struct {
	real string // its path, without links
	name string // its name in the archive
}

// tree adds a folder of t and all that is in it.
func (a *archive) tree(t tree, folder string) error {
	at := filepath.Join(t.real, folder)
	entries, err := os.ReadDir(at)
	if err != nil {
		if t.mayGo(err, folder) {
			return nil
		}
		return fmt.Errorf("back up %s: %w", t.name, err)
	}
	if err := a.entry(t, folder); err != nil {
		return err
	}
	for _, e := range entries {
		inner := path.Join(folder, e.Name())
		switch {
		case inner == tempDir: // unfinished work
		case e.IsDir():
			err = a.tree(t, inner)
		default:
			if err = a.entry(t, inner); t.mayGo(err, inner) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayGo tells whether an error is that a file is gone which may be: objects
// are deleted by their owners at any time.
func (t tree) mayGo(err error, name string) bool {
	return t.name == objectsDir && errors.Is(err, fs.ErrNotExist) && path.Base(name) != "bucket.json"
}

// entry adds a file, a link or a folder without what is in it.
func (a *archive) entry(t tree, name string) error {
	at := filepath.Join(t.real, name)
	info, err := os.Lstat(at)
	if err != nil {
		return fmt.Errorf("back up %s: %w", t.name, err)
	}
	as := path.Join(t.name, name)
	switch {
	case info.Mode().IsRegular():
		return a.add(at, as)
	case info.IsDir():
		return a.header(info, as+"/", "")
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := t.target(at)
		if err != nil {
			return fmt.Errorf("back up %s: %w", t.name, err)
		}
		return a.header(info, as, target)
	}
	return nil // a socket and its kind mean nothing in a copy
}

// target is where a link leads. A path from the root to something within the
// tree becomes a relative one, which holds in the copy as well.
func (t tree) target(link string) (string, error) {
	target, err := os.Readlink(link)
	if err == nil && strings.HasPrefix(target, t.real+"/") {
		return filepath.Rel(filepath.Dir(link), target)
	}
	return target, err
}

// add adds a regular file. One that is replaced meanwhile is added as it was.
func (a *archive) add(at, as string) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	f, err := os.Open(at)
	if err != nil {
		return fmt.Errorf("back up file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("back up file: %w", err)
	}
	if err := a.header(info, as, ""); err != nil {
		return err
	}
	n, err := io.Copy(a.out, io.LimitReader(f, info.Size()))
	if err == nil && n < info.Size() {
		err = isolde.Errorf(isolde.CodeInternal, "%s became shorter while it was copied", as)
	}
	return err
}

func (a *archive) header(info fs.FileInfo, as, link string) error {
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return fmt.Errorf("back up %s: %w", as, err)
	}
	h.Name, h.Uname, h.Gname = as, "", "" // owners by number: names may mean others elsewhere
	return a.out.WriteHeader(h)
}
