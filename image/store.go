package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Config says where images are kept and what builds may do.
type Config struct {
	// Dir is the folder that everything is kept in; Open makes it.
	Dir string
	// Logger gets what no caller needs to see; nil discards.
	Logger *slog.Logger
	// AllowScripts lets dependencies run code of their own on this machine,
	// with the rights of this process, while they are installed: source
	// builds of Python packages, install scripts of npm packages, packages
	// straight from version control.
	AllowScripts bool
	// Path is where python3, uv, node, npm and go are looked for, a list like
	// $PATH; empty means $PATH itself.
	Path string
}

// Store builds images and keeps them. It implements [Builder]. Under its
// folder are:
//
//	oci/           an OCI layout: the blobs of all layers, unpacked, manifests, index.json
//	images/        per image, by digest: the EROFS file and a record of how it starts
//	layers/        which layer came of which inputs
//	dependencies/  installed packages in plain form, by key
//	code/          agents' code in plain form, by key
//	tmp/           unfinished work, a folder per process
//
// Several processes may use one folder: results appear under their final name
// at once and whole, and are the same whoever makes them.
type Store struct {
	dir     string
	tmp     string // this process's part of tmp/
	lock    *os.File
	log     *slog.Logger
	scripts bool
	path    string
	limits  limits // of container images

	flights flights
	hosts   hosts
	indexes indexes

	mu      sync.Mutex
	running map[int]time.Time // when each running build began
	builds  int               // so far; the key of the next in running
}

var _ Builder = (*Store)(nil)

// realDir makes a folder and returns its path without symbolic links, since
// links inside the store point at what else is in it.
func realDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// Open opens the store in cfg.Dir and takes away what processes that died
// left unfinished there.
func Open(cfg Config) (*Store, error) {
	dir, err := realDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{dir: dir, log: cfg.Logger, scripts: cfg.AllowScripts, path: cfg.Path, limits: containerLimits, running: map[int]time.Time{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.path == "" {
		s.path = os.Getenv("PATH")
	}
	for _, sub := range []string{"oci/blobs/sha256", "images", "layers", folderDependencies, folderCode, "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	s.sweep()
	if err := s.claim(); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if err := s.writeFile(filepath.Join(dir, "oci", "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		s.Close()
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

// claim makes this process's part of tmp/, locked for as long as it lives.
func (s *Store) claim() error {
	for {
		tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "")
		if err != nil {
			return err
		}
		f, err := os.Open(tmp)
		if errors.Is(err, fs.ErrNotExist) {
			continue // swept by another process before it could be locked
		}
		if err != nil {
			return err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return err
		}
		if !exists(tmp) {
			f.Close()
			continue
		}
		s.tmp, s.lock = tmp, f
		return nil
	}
}

// sweep removes the parts of tmp/ whose process is gone.
func (s *Store) sweep() {
	all, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		return
	}
	for _, e := range all {
		name := filepath.Join(s.dir, "tmp", e.Name())
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if err := os.RemoveAll(name); err != nil {
				s.log.Warn("cannot remove unfinished build", "path", name, "error", err)
			}
		}
		f.Close()
	}
}

// Close waits for nothing: builds end by their contexts. It takes away the
// process's temporary files and may be called twice.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	err := os.RemoveAll(s.tmp)
	err = errors.Join(err, s.lock.Close())
	s.lock = nil
	return err
}

// storeMark stands for the store's folder in records, so that it can be moved.
const storeMark = "${store}"

// record is what the store knows of an image.
type record struct {
	Digest  string            `json:"digest"`
	Size    int64             `json:"size"` // bytes of the EROFS file
	Command []string          `json:"command"`
	Env     []string          `json:"env"`
	Layers  []layer           `json:"layers"`
	Host    *sandbox.HostRoot `json:"host,omitempty"` // paths in the store begin with storeMark
	// Process is how an imported image starts; others start in /app as uid 1000.
	Process *process `json:"process,omitempty"`
}

// process is where, and as whom, an image starts.
type process struct {
	Dir string `json:"dir"`
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Open finds an image by its digest.
func (s *Store) Open(_ context.Context, digest string) (Image, error) {
	if !digestRE.MatchString(digest) {
		return Image{}, isolde.Errorf(isolde.CodeInvalid, "image digest %q must be sha256: and 64 hexadecimal digits", digest)
	}
	r, err := s.record(digest)
	if err != nil {
		return Image{}, isolde.Errorf(isolde.CodeNotFound, "no image %s is kept here", digest).
			WithHint("deploy the agent again").WithCause(err)
	}
	return s.image(r), nil
}

// record reads an image's record and checks that its files are there.
func (s *Store) record(digest string) (record, error) {
	var r record
	b, err := os.ReadFile(s.imageFile(digest, ".json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read record of %s: %w", digest, err)
	}
	info, err := os.Stat(s.imageFile(digest, ".erofs"))
	if err != nil {
		return r, err
	}
	if info.Size() != r.Size {
		return r, fmt.Errorf("image %s has %d bytes, not %d", digest, info.Size(), r.Size)
	}
	for _, l := range r.Layers {
		if l.Folder == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.dir, l.Folder)); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (s *Store) image(r record) Image {
	img := Image{
		Digest:  r.Digest,
		Root:    sandbox.Root{Image: s.imageFile(r.Digest, ".erofs")},
		Command: r.Command,
		Env:     r.Env,
		Dir:     "/" + codeDir,
		UID:     agentID,
		GID:     agentID,
	}
	if p := r.Process; p != nil {
		img.Dir, img.UID, img.GID = p.Dir, p.UID, p.GID
	}
	if h := r.Host; h != nil {
		img.Root.Host = &sandbox.HostRoot{Code: s.unmark(h.Code), Command: s.unmarkAll(h.Command), Env: s.unmarkAll(h.Env)}
	}
	return img
}

func (s *Store) unmark(text string) string { return strings.ReplaceAll(text, storeMark, s.dir) }

func (s *Store) unmarkAll(all []string) []string {
	out := make([]string, len(all))
	for i, text := range all {
		out[i] = s.unmark(text)
	}
	return out
}

// imageFile is a file of an image; digest must have been checked.
func (s *Store) imageFile(digest, extension string) string {
	return filepath.Join(s.dir, "images", strings.TrimPrefix(digest, "sha256:")+extension)
}

// writeJSON writes v to a file that appears whole or not at all.
func (s *Store) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return s.writeFile(name, append(b, '\n'))
}

func (s *Store) writeFile(name string, b []byte) error {
	tmp, err := os.CreateTemp(s.tmp, "file-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// exists tells whether a file or folder is there.
func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
