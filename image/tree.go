package image

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Who agents run as, as AWS's container conventions have it.
const (
	agentID   = 1000
	agentName = "agent"
	agentHome = "home/agent"
)

// tree is what a layer will hold: entries by their name in the image, clean
// and relative to the root.
type tree map[string]entry

// entry is a file, a directory or a symbolic link to be.
type entry struct {
	mode   fs.FileMode // type and permission bits
	owner  int         // user and group
	from   string      // the host file with a regular file's content
	data   []byte      // or the content itself, when from is empty
	target string      // of a symbolic link
}

func (t tree) dir(name string, mode fs.FileMode, owner int) {
	t[name] = entry{mode: fs.ModeDir | mode, owner: owner}
}

func (t tree) bytes(name string, data []byte, mode fs.FileMode) {
	t[name] = entry{mode: mode, data: data}
}

func (t tree) file(name, from string, mode fs.FileMode) {
	t[name] = entry{mode: mode, from: from}
}

func (t tree) link(name, target string) {
	t[name] = entry{mode: fs.ModeSymlink | 0o777, target: target}
}

// folder adds what is in a host folder, with modes that depend on nothing but
// whether a file may be executed. Links that lead out of the folder, and what
// keep refuses, are left out. keep gets the name within the folder; nil keeps
// all.
func (t tree) folder(at, dir string, owner int, keep func(name string, d fs.DirEntry) bool) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if name != "." && keep != nil && !keep(filepath.ToSlash(name), d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		e, err := hostEntry(file, filepath.ToSlash(name), d)
		if err != nil || e == nil {
			return err
		}
		e.owner = owner
		t[path.Join(at, filepath.ToSlash(name))] = *e
		return nil
	})
}

// hostEntry is the entry for one host file, nil if it cannot be in an image.
func hostEntry(file, name string, d fs.DirEntry) (*entry, error) {
	switch d.Type() {
	case fs.ModeDir:
		return &entry{mode: fs.ModeDir | 0o755}, nil
	case fs.ModeSymlink:
		target, err := os.Readlink(file)
		if err != nil || !staysInside(name, target) {
			return nil, err
		}
		return &entry{mode: fs.ModeSymlink | 0o777, target: target}, nil
	case 0:
		info, err := d.Info()
		if err != nil {
			return nil, err
		}
		return &entry{mode: plainMode(info.Mode()), from: file}, nil
	default:
		return nil, nil
	}
}

// plainMode is 0755 for what its owner may execute and 0644 for the rest.
func plainMode(m fs.FileMode) fs.FileMode {
	if m&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// staysInside tells whether a link's target, seen from its name in a folder,
// is in that folder.
func staysInside(name, target string) bool {
	if target == "" || path.IsAbs(target) || strings.ContainsRune(target, 0) {
		return false
	}
	to := path.Join(path.Dir(name), target)
	return to != ".." && !strings.HasPrefix(to, "../")
}
