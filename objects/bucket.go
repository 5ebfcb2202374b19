package objects

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// bucket is a bucket and what is in it, guarded by the store's mutex.
type bucket struct {
	name string
	bucketRecord
	keys     []string              // sorted; those of versions
	versions map[string][]*version // newest first, never empty
}

// bucketRecord is what bucket.json holds.
type bucketRecord struct {
	Created    time.Time         `json:"created"`
	Region     string            `json:"region"`
	Versioning string            `json:"versioning,omitempty"` // "", "Enabled" or "Suspended"
	Documents  map[string]string `json:"documents,omitempty"`  // XML or JSON by sub-resource, see documents
}

// version is one version of an object, or the marker that a delete left in a
// versioned bucket. It does not change once it is in a bucket, but for Tags.
type version struct {
	ID        string            `json:"id"` // names its files
	Key       string            `json:"key"`
	VersionID string            `json:"versionId,omitempty"` // empty: S3's null version
	Sequence  int64             `json:"sequence"`            // later versions have higher ones
	Size      int64             `json:"size"`
	ETag      string            `json:"etag,omitempty"` // without quotes
	Modified  time.Time         `json:"modified"`
	Deleted   bool              `json:"deleted,omitempty"`   // a delete marker
	Headers   map[string]string `json:"headers,omitempty"`   // given back with the object
	Checksums map[string]string `json:"checksums,omitempty"` // by header name, as S3 encodes them
	Tags      []tag             `json:"tags,omitempty"`
}

// insert adds a version where its sequence puts it.
func (b *bucket) insert(v *version) {
	all, known := b.versions[v.Key]
	if !known {
		at, _ := slices.BinarySearch(b.keys, v.Key)
		b.keys = slices.Insert(b.keys, at, v.Key)
	}
	at, _ := slices.BinarySearchFunc(all, v, func(a, b *version) int { return cmp.Compare(b.Sequence, a.Sequence) })
	b.versions[v.Key] = slices.Insert(all, at, v)
}

// take removes a version.
func (b *bucket) take(v *version) {
	rest := slices.DeleteFunc(slices.Clone(b.versions[v.Key]), func(o *version) bool { return o == v })
	if len(rest) > 0 {
		b.versions[v.Key] = rest
		return
	}
	delete(b.versions, v.Key)
	if at, found := slices.BinarySearch(b.keys, v.Key); found {
		b.keys = slices.Delete(b.keys, at, at+1)
	}
}

// latest is the key's newest version, which may be a delete marker; nil if there is none.
func (b *bucket) latest(key string) *version {
	if all := b.versions[key]; len(all) > 0 {
		return all[0]
	}
	return nil
}

// find is the version with an id, "null" or empty standing for the null version.
func (b *bucket) find(key, versionID string) *version {
	if versionID == nullVersion {
		versionID = ""
	}
	for _, v := range b.versions[key] {
		if v.VersionID == versionID {
			return v
		}
	}
	return nil
}

const nullVersion = "null"

// bucket finds a bucket; the caller holds the mutex.
func (s *Store) bucket(name string) (*bucket, error) {
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	return nil, faultf(gofakes3.ErrNoSuchBucket, "there is no bucket %q", name)
}

// createBucket makes a bucket; ok is false if it exists.
func (s *Store) createBucket(name, region string) (ok bool, err error) {
	if err := gofakes3.ValidateBucketName(name); err != nil || strings.Contains(name, "..") {
		return false, faultf(gofakes3.ErrInvalidBucketName, "%q must hold 3 to 63 lower-case letters, digits, dots and hyphens, and begin and end with a letter or digit", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return false, nil
	}
	b := &bucket{name: name, versions: map[string][]*version{}, bucketRecord: bucketRecord{Created: now(), Region: region}}
	tmp, err := os.MkdirTemp(s.tmp(), "")
	if err != nil {
		return false, err
	}
	if err := s.writeJSON(filepath.Join(tmp, "bucket.json"), &b.bucketRecord); err != nil {
		os.RemoveAll(tmp)
		return false, err
	}
	if err := os.Rename(tmp, s.bucketDir(name)); err != nil {
		os.RemoveAll(tmp)
		return false, err
	}
	s.buckets[name] = b
	return true, syncDir(s.bucketDir(""))
}

// deleteBucket takes an empty bucket away, and the uploads into it.
func (s *Store) deleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	if n := len(b.keys); n > 0 {
		return faultf(gofakes3.ErrBucketNotEmpty, "bucket %q still holds %d keys; delete them, with all their versions, first", name, n)
	}
	tmp, err := os.MkdirTemp(s.tmp(), "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Rename(s.bucketDir(name), filepath.Join(tmp, "bucket")); err != nil {
		return err
	}
	delete(s.buckets, name)
	for _, u := range s.uploads {
		if u.bucket == name {
			s.dropUpload(u)
		}
	}
	return nil
}

// changeBucket changes a bucket's record, on disk and then in memory.
func (s *Store) changeBucket(name string, change func(*bucketRecord)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	next := b.bucketRecord
	change(&next)
	if err := s.writeJSON(filepath.Join(s.bucketDir(name), "bucket.json"), &next); err != nil {
		return err
	}
	b.bucketRecord = next
	return nil
}
