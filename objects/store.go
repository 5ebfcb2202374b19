// Package objects keeps the archives that code artifacts are made of: [Store]
// is an S3 endpoint with its files under one folder, enough for the SDKs and
// for deploy scripts, and [Remote] reads from S3 itself or any store that
// speaks its API. docs/AWS-SERVICES.md lists what the endpoint offers.
package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultQuota is how many bytes a store keeps unless told otherwise.
const DefaultQuota = 20 << 30

// Config says where objects are kept and how many.
type Config struct {
	// Dir is the folder that everything is kept in; Open makes it. One process
	// may have it open.
	Dir string
	// Quota bounds the bytes of all objects, their old versions and unfinished
	// uploads together; 0 means [DefaultQuota].
	Quota int64
	// Logger gets what no caller needs to see; nil discards.
	Logger *slog.Logger
}

// Store keeps buckets and objects in files. Safe for concurrent use. Under its
// folder are:
//
//	buckets/NAME/bucket.json  what the bucket is: region, versioning, documents
//	buckets/NAME/ID           the bytes of one version of an object
//	buckets/NAME/ID.json      its key and headers; the version exists once this does
//	tmp/                      unfinished work, gone at the next Open
//
// Keys come from strangers, so no file is named after one: ids are random.
type Store struct {
	dir   string
	quota int64
	log   *slog.Logger
	used  atomic.Int64 // bytes kept or promised to a write under way

	mu       sync.RWMutex
	buckets  map[string]*bucket
	uploads  map[string]*upload
	sequence int64 // of the newest version
}

// Open opens the store in cfg.Dir and takes away what a process that died left
// unfinished there: such a write never happened, and its upload is to be begun anew.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		dir: cfg.Dir, quota: cfg.Quota, log: cfg.Logger,
		buckets: map[string]*bucket{}, uploads: map[string]*upload{},
	}
	if s.quota == 0 {
		s.quota = DefaultQuota
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := os.RemoveAll(s.tmp()); err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	for _, dir := range []string{s.tmp(), s.bucketDir("")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open object store: %w", err)
		}
	}
	names, err := os.ReadDir(s.bucketDir(""))
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	for _, e := range names {
		if err := s.load(e.Name()); err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", e.Name(), err)
		}
	}
	return s, nil
}

// Close drops unfinished uploads. Objects need no closing: each was durable
// before its writer was told so. Idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		s.dropUpload(u)
	}
	return nil
}

func (s *Store) tmp() string                  { return filepath.Join(s.dir, "tmp") }
func (s *Store) bucketDir(name string) string { return filepath.Join(s.dir, "buckets", name) }
func (s *Store) data(bucket, id string) string {
	return filepath.Join(s.dir, "buckets", bucket, id)
}

func (s *Store) record(bucket, id string) string { return s.data(bucket, id) + ".json" }

// load reads a bucket's records, and removes bytes that no record tells of
// and what a newer version replaced just before the process died.
func (s *Store) load(name string) error {
	b := &bucket{name: name, versions: map[string][]*version{}}
	if err := readJSON(filepath.Join(s.bucketDir(name), "bucket.json"), &b.bucketRecord); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.bucketDir(name))
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range entries {
		id, isRecord := strings.CutSuffix(e.Name(), ".json")
		if !isRecord || e.Name() == "bucket.json" {
			continue
		}
		v := &version{}
		if err := readJSON(s.record(name, id), v); err != nil {
			return err
		}
		if _, err := os.Stat(s.data(name, id)); err != nil && !v.Deleted {
			s.log.Error("object lost its bytes", "bucket", name, "id", id, "error", err)
			continue
		}
		known[id] = true
		b.insert(v)
		s.used.Add(v.Size)
		s.sequence = max(s.sequence, v.Sequence)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") && !known[e.Name()] {
			if err := os.Remove(s.data(name, e.Name())); err != nil {
				return err
			}
		}
	}
	s.buckets[name] = b
	for _, all := range b.versions {
		s.forget(b, superseded(all)...)
	}
	return nil
}

// superseded are the null versions that a newer one took the place of; a key
// has one at most.
func superseded(all []*version) (old []*version) {
	seen := false
	for _, v := range all {
		if v.VersionID == "" {
			if seen {
				old = append(old, v)
			}
			seen = true
		}
	}
	return old
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// writeJSON puts a file in place at once and whole.
func (s *Store) writeJSON(file string, from any) (err error) {
	f, err := os.CreateTemp(s.tmp(), "")
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := json.NewEncoder(f).Encode(from); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// remove takes a file away that nothing refers to any more. If that fails, the
// next Open does it.
func (s *Store) remove(file string) {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("cannot remove object file", "path", file, "error", err)
	}
}

// now is the time that versions carry; S3 tells whole milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
