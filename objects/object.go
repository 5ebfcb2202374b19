package objects

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/johannesboyne/gofakes3"
)

// MaxObject is the largest object in bytes, as of one PutObject at AWS.
const MaxObject = 5 << 30

// newID names files, versions and uploads.
func newID() string { return strings.ToLower(rand.Text()) }

// reserve promises n bytes to a write. Its caller releases what it does not keep.
func (s *Store) reserve(n int64) error {
	if n > MaxObject {
		return faultf(codeTooLarge, "%d bytes are more than the %d that an object may have", n, int64(MaxObject))
	}
	if used := s.used.Add(n); used > s.quota {
		s.used.Add(-n)
		return faultf(codeQuota, "%d bytes more would exceed the store's quota of %d bytes, of which %d are used; delete objects", n, s.quota, used-n)
	}
	return nil
}

func (s *Store) release(n int64) { s.used.Add(-n) }

// write puts what r has, exactly size bytes, into a new file under tmp/ and
// returns its path and the MD5 of the bytes. The caller holds a reservation.
func (s *Store) write(r io.Reader, size int64) (file string, sum []byte, err error) {
	f, err := os.CreateTemp(s.tmp(), "")
	if err != nil {
		return "", nil, diskFault(err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	hash := md5.New()
	n, err := io.Copy(f, io.TeeReader(io.LimitReader(r, size+1), hash))
	if err != nil {
		return "", nil, diskFault(err)
	}
	if n != size {
		return "", nil, faultf(gofakes3.ErrIncompleteBody, "the body has not the %d bytes that were announced", size)
	}
	if err := f.Sync(); err != nil {
		return "", nil, diskFault(err)
	}
	return f.Name(), hash.Sum(nil), nil
}

// diskFault names the errors of a full disk.
func diskFault(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return faultf(codeDiskFull, "the disk of the server's data directory is full").because(err)
	}
	return err
}

// commit makes v, whose bytes are in file (empty for a delete marker), the
// newest version of its key, and takes away the one whose place it takes. The
// file is gone afterwards, in any case.
func (s *Store) commit(bucket string, v *version, file string, cond gofakes3.PutConditions) (err error) {
	defer func() {
		if err != nil && file != "" {
			s.remove(file)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucket)
	if err != nil {
		return err
	}
	if err := b.meets(v.Key, cond); err != nil {
		return err
	}
	v.ID, v.Modified, v.Sequence = newID(), now(), s.sequence+1
	if b.Versioning == string(gofakes3.VersioningEnabled) {
		v.VersionID = v.ID
	}
	if file != "" {
		if err := os.Rename(file, s.data(bucket, v.ID)); err != nil {
			return err
		}
	}
	if err := s.writeJSON(s.record(bucket, v.ID), v); err != nil {
		s.remove(s.record(bucket, v.ID)) // the name may be there already
		s.remove(s.data(bucket, v.ID))
		return diskFault(err)
	}
	s.sequence = v.Sequence
	b.insert(v)
	s.forget(b, superseded(b.versions[v.Key])...)
	return nil
}

// meets checks the conditions of a write against what the key has now.
func (b *bucket) meets(key string, cond gofakes3.PutConditions) error {
	v := b.latest(key)
	exists := v != nil && !v.Deleted
	if cond.IfNoneMatch != nil && *cond.IfNoneMatch == "*" && exists {
		return faultf(gofakes3.ErrPreconditionFailed, "there is an object with key %q", key)
	}
	if cond.IfMatch != nil && (!exists || strings.Trim(*cond.IfMatch, `"`) != v.ETag) {
		return faultf(gofakes3.ErrPreconditionFailed, "the object with key %q has not the ETag %s", key, *cond.IfMatch)
	}
	return nil
}

// forget removes versions for good. The record goes first: bytes without one
// are swept.
func (s *Store) forget(b *bucket, old ...*version) {
	for _, v := range old {
		b.take(v)
		s.remove(s.record(b.name, v.ID))
		s.remove(s.data(b.name, v.ID))
		s.release(v.Size)
	}
}

// put stores an object of size bytes; v has its key and headers, and gets the rest.
func (s *Store) put(bucket string, v *version, r io.Reader, size int64, cond gofakes3.PutConditions) error {
	if err := s.reserve(size); err != nil {
		return err
	}
	file, sum, err := s.write(r, size)
	if err == nil {
		v.Size, v.ETag = size, hex.EncodeToString(sum)
		err = s.commit(bucket, v, file, cond)
	}
	if err != nil {
		s.release(size)
	}
	return err
}

// find finds a version, the newest if versionID is empty; the caller holds the
// mutex. A delete marker is returned along with the error.
func (s *Store) find(bucket, key, versionID string) (*version, error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return nil, err
	}
	v := b.latest(key)
	if versionID != "" {
		if v = b.find(key, versionID); v == nil {
			return nil, faultf(gofakes3.ErrNoSuchVersion, "the object with key %q has no version %q", key, versionID)
		}
		if v.Deleted {
			return v, faultf(gofakes3.ErrMethodNotAllowed, "version %q of key %q is a delete marker", versionID, key)
		}
	}
	if v == nil || v.Deleted {
		return v, faultf(gofakes3.ErrNoSuchKey, "bucket %q has no object with key %q", bucket, key)
	}
	return v, nil
}

// open is find, with the bytes; the caller closes the file.
func (s *Store) open(bucket, key, versionID string) (*version, *os.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, err := s.find(bucket, key, versionID)
	if err != nil {
		return v, nil, err
	}
	f, err := os.Open(s.data(bucket, v.ID))
	return v, f, err
}

// link is find, with one more name for the bytes, under tmp/. They are
// reserved once more as well.
func (s *Store) link(bucket, key, versionID string) (v *version, file string, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v, err = s.find(bucket, key, versionID); err != nil {
		return nil, "", err
	}
	if err := s.reserve(v.Size); err != nil {
		return nil, "", err
	}
	file = filepath.Join(s.tmp(), newID())
	if err := os.Link(s.data(bucket, v.ID), file); err != nil {
		s.release(v.Size)
		return nil, "", err
	}
	return v, file, nil
}

// delete removes a key: for good, or by a marker in a versioned bucket, which
// is then returned.
func (s *Store) delete(bucket, key string) (*version, error) {
	s.mu.Lock()
	b, err := s.bucket(bucket)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	if b.Versioning == "" {
		s.forget(b, b.versions[key]...)
		s.mu.Unlock()
		return nil, nil
	}
	s.mu.Unlock()
	marker := &version{Key: key, Deleted: true}
	return marker, s.commit(bucket, marker, "", gofakes3.PutConditions{})
}

// deleteVersion removes one version for good; nil if there was none.
func (s *Store) deleteVersion(bucket, key, versionID string) (*version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucket)
	if err != nil {
		return nil, err
	}
	v := b.find(key, versionID)
	if v != nil {
		s.forget(b, v)
	}
	return v, nil
}
