package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// sourceEntry is one thing in an agent's folder that is part of it.
type sourceEntry struct {
	name   string // relative to the folder, with slashes
	file   string // on the host
	mode   fs.FileMode
	target string // of a link
}

// walkSource calls visit for all that is part of the agent in dir, in the
// order of names, without dir itself. Links that lead out of the folder are
// an error; sockets, pipes and devices are left out.
func walkSource(dir string, visit func(sourceEntry) error) error {
	ig, err := readIgnore(dir)
	if err != nil {
		return err
	}
	return walkFolder(dir, ig.skips, visit)
}

// walk visits all of the build's source. A code artifact is complete as it is:
// what a build leaves out elsewhere are its packages.
func (b *build) walk(visit func(sourceEntry) error) error {
	if b.src.Runtime != "" {
		return walkFolder(b.src.Dir, func(string, bool) bool { return false }, visit)
	}
	return walkSource(b.src.Dir, visit)
}

// walkFolder calls visit for all in dir but what skips names; see walkSource.
func walkFolder(dir string, skips func(name string, dir bool) bool, visit func(sourceEntry) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		e := sourceEntry{name: filepath.ToSlash(rel), file: file}
		if skips(e.name, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch d.Type() {
		case fs.ModeDir:
			e.mode = fs.ModeDir | 0o755
		case fs.ModeSymlink:
			if e.target, err = os.Readlink(file); err != nil {
				return err
			}
			if !linkStays(root, e.name, e.target) {
				return isolde.Errorf(isolde.CodeInvalid, "link %s leads out of the agent's folder, to %q", e.name, e.target).
					WithHint("put a copy in its place, or name it in %s", ignoreFile)
			}
			e.mode = fs.ModeSymlink | 0o777
		case 0:
			info, err := d.Info()
			if err != nil {
				return err
			}
			e.mode = plainMode(info.Mode())
		default:
			return nil
		}
		return visit(e)
	})
}

// linkStays tells whether a link, followed to its end, is still in root. Its
// text alone does not tell: it may lead through other links.
func linkStays(root *os.Root, name, target string) bool {
	if !staysInside(name, target) {
		return false
	}
	_, err := root.Stat(name)
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// stage copies the agent in the source folder, less what skip names, to a new
// temporary folder: a copy, so that what is hashed is what is built even while
// the source is being edited.
func (b *build) stage(ctx context.Context, skip func(name string) bool) (dir string, err error) {
	dir, err = os.MkdirTemp(b.tmp, "code-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	return dir, b.walk(func(e sourceEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if skip != nil && skip(e.name) {
			return nil
		}
		return e.copyTo(filepath.Join(dir, filepath.FromSlash(e.name)))
	})
}

func (e sourceEntry) copyTo(to string) error {
	switch e.mode.Type() {
	case fs.ModeDir:
		return os.Mkdir(to, 0o755)
	case fs.ModeSymlink:
		return os.Symlink(e.target, to)
	}
	return copyFile(e.file, to, e.mode)
}

// copyFile copies a regular file to a new one with exactly the given mode.
func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

var errNotSmall = errors.New("the file has more than 1 MiB")

// readSmall reads a file of a stranger's that is small, if it is what its name
// says.
func readSmall(name string) ([]byte, error) {
	const limit = 1 << 20
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(content) > limit {
		return nil, errNotSmall
	}
	return content, err
}

// hashTree is a hash over all of t, contents included.
func hashTree(t tree) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		fmt.Fprintf(h, "%q %o %d %q\n", name, e.mode, e.owner, e.target)
		if !e.mode.IsRegular() {
			continue
		}
		content, size, err := e.open()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\n", size)
		_, err = io.Copy(h, content)
		content.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// keepCode keeps a staged folder as code: plain, and as a layer that the agent
// owns. inputs, beside the folder's content, are what finish depends on; it
// may add to the folder, and runs only for content that is new.
func (b *build) keepCode(ctx context.Context, staged string, inputs []string, finish func(context.Context, string) error) (layer, error) {
	return b.keepCodeAs(ctx, staged, inputs, finish, nil)
}

// keepCodeAs is keepCode for code that is not the same in the image as in its
// plain form: amend makes the difference, after finish.
func (b *build) keepCodeAs(ctx context.Context, staged string, inputs []string, finish func(context.Context, string) error, amend func(tree) error) (layer, error) {
	t := tree{}
	sum, err := "", t.folder(codeDir, staged, agentID, nil)
	if err == nil {
		sum, err = hashTree(t)
	}
	if err != nil {
		os.RemoveAll(staged)
		return layer{}, err
	}
	key := key(append(inputs, sum)...)
	release := func() { os.RemoveAll(staged) }
	l, cached, err := b.keyed(ctx, folderCode, key, release, func(ctx context.Context) (layer, error) {
		if finish != nil {
			if err := finish(ctx, staged); err != nil {
				return layer{}, err
			}
			if err := t.folder(codeDir, staged, agentID, nil); err != nil {
				return layer{}, err
			}
		}
		if amend != nil {
			if err := amend(t); err != nil {
				return layer{}, err
			}
		}
		l, err := b.writeLayer(ctx, t)
		if err != nil {
			return layer{}, err
		}
		l.Folder, err = b.keepFolder(staged, folderCode, key)
		return l, err
	})
	if err != nil {
		return layer{}, err
	}
	b.report.say("code", cached, "%s of code", megabytes(l.Size))
	return l, nil
}

// key is a hash over the inputs of a layer.
func key(inputs ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", format)
	for _, in := range inputs {
		fmt.Fprintf(h, "%q\n", in)
	}
	return hex.EncodeToString(h.Sum(nil))[:40]
}

// inSource is the clean name of a path in the source folder; it is an error
// if it leads out of it.
func inSource(name string) (string, error) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", isolde.Errorf(isolde.CodeInvalid, "entry point %q leads out of the agent's folder", name).
			WithHint("name a file in the folder, e.g. agent.py")
	}
	return clean, nil
}
