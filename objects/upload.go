package objects

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// upload is a multipart upload under way. Its parts are files under tmp/: they
// count toward the quota, and end with the server.
type upload struct {
	id        string
	bucket    string
	version   *version // without bytes yet
	initiated time.Time
	touched   time.Time
	parts     map[int]part
}

type part struct {
	file     string
	size     int64
	sum      []byte // MD5
	modified time.Time
}

func (p *part) etag() string { return hex.EncodeToString(p.sum) }

// uploadLife is how long an upload waits for its next part before it may be
// dropped. S3 waits forever, which nobody here would notice or pay for.
const uploadLife = 24 * time.Hour

// minPart is S3's least size of a part that is not the last.
const minPart = 5 << 20

// createUpload begins an upload, and drops those that were abandoned.
func (s *Store) createUpload(bucket string, v *version) (*upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.bucket(bucket); err != nil {
		return nil, err
	}
	for _, u := range s.uploads {
		if time.Since(u.touched) > uploadLife {
			s.dropUpload(u)
		}
	}
	u := &upload{id: newID(), bucket: bucket, version: v, initiated: now(), touched: time.Now(), parts: map[int]part{}}
	s.uploads[u.id] = u
	return u, nil
}

// upload finds an upload; the caller holds the mutex.
func (s *Store) upload(bucket, key, id string) (*upload, error) {
	u := s.uploads[id]
	if u == nil || u.bucket != bucket || u.version.Key != key {
		return nil, faultf(gofakes3.ErrNoSuchUpload, "there is no upload %q of key %q: it was completed, aborted, or the server was restarted; begin a new one", id, key)
	}
	return u, nil
}

// dropUpload removes an upload and its parts; the caller holds the mutex.
func (s *Store) dropUpload(u *upload) {
	delete(s.uploads, u.id)
	for _, p := range u.parts {
		s.dropPart(p)
	}
}

func (s *Store) dropPart(p part) {
	s.remove(p.file)
	s.release(p.size)
}

// putPart stores a part in place of an earlier one with its number.
func (s *Store) putPart(bucket, key, id string, number int, r io.Reader, size int64) (etag string, err error) {
	s.mu.RLock()
	_, err = s.upload(bucket, key, id)
	s.mu.RUnlock()
	if err != nil {
		return "", err
	}
	if err := s.reserve(size); err != nil {
		return "", err
	}
	file, sum, err := s.write(r, size)
	if err != nil {
		s.release(size)
		return "", err
	}
	p := part{file, size, sum, now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.upload(bucket, key, id)
	if err != nil { // it ended in the meantime
		s.dropPart(p)
		return "", err
	}
	if old, ok := u.parts[number]; ok {
		s.dropPart(old)
	}
	u.parts[number], u.touched = p, time.Now()
	return p.etag(), nil
}

// complete makes an object of an upload's parts.
func (s *Store) complete(bucket, key, id string, chosen []gofakes3.CompletedPart, cond gofakes3.PutConditions) (*version, error) {
	s.mu.Lock()
	u, err := s.upload(bucket, key, id)
	var parts []part
	if err == nil {
		parts, err = u.choose(chosen)
	}
	if err == nil {
		delete(s.uploads, id) // nobody else completes or aborts it meanwhile
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	v, err := s.join(u, parts, cond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.uploads[id] = u // the client may try again
		if _, gone := s.bucket(bucket); gone != nil {
			s.dropUpload(u)
		}
		return nil, err
	}
	s.dropUpload(u)
	return v, nil
}

// choose finds the parts that a client completes an upload with.
func (u *upload) choose(chosen []gofakes3.CompletedPart) ([]part, error) {
	if len(chosen) == 0 {
		return nil, faultf(gofakes3.ErrMalformedXML, "the request names no parts")
	}
	var parts []part
	for i, c := range chosen {
		if i > 0 && c.PartNumber <= chosen[i-1].PartNumber {
			return nil, faultf(gofakes3.ErrInvalidPartOrder, "part %d stands behind part %d", c.PartNumber, chosen[i-1].PartNumber)
		}
		p, ok := u.parts[c.PartNumber]
		if !ok || strings.Trim(c.ETag, `"`) != p.etag() {
			return nil, faultf(gofakes3.ErrInvalidPart, "part %d with ETag %s was not uploaded", c.PartNumber, c.ETag)
		}
		if i < len(chosen)-1 && p.size < minPart {
			return nil, faultf(codeTooSmall, "part %d has %d bytes; all but the last have at least %d", c.PartNumber, p.size, minPart)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// join writes the parts into one file. Their room is promised to the object
// once more, for as long as both exist.
func (s *Store) join(u *upload, parts []part, cond gofakes3.PutConditions) (*version, error) {
	v := *u.version
	etags := md5.New()
	var readers []io.Reader
	for _, p := range parts {
		v.Size += p.size
		etags.Write(p.sum)
		readers = append(readers, &fileReader{name: p.file})
	}
	if v.Size > MaxObject {
		return nil, faultf(codeTooLarge, "%d bytes are more than the %d that an object may have", v.Size, int64(MaxObject))
	}
	// The parts are released right after: the quota need not hold both.
	s.used.Add(v.Size)
	file, _, err := s.write(io.MultiReader(readers...), v.Size)
	if err == nil {
		v.ETag = fmt.Sprintf("%x-%d", etags.Sum(nil), len(parts))
		err = s.commit(u.bucket, &v, file, cond)
	}
	if err != nil {
		s.release(v.Size)
		return nil, err
	}
	return &v, nil
}

// fileReader opens a file when it is first read and closes it at its end, so
// that one of 10,000 parts is open at a time.
type fileReader struct {
	name string
	f    *os.File
}

func (r *fileReader) Read(p []byte) (n int, err error) {
	if r.f == nil {
		if r.f, err = os.Open(r.name); err != nil {
			return 0, err
		}
	}
	if n, err = r.f.Read(p); err != nil {
		r.f.Close()
	}
	return n, err
}

// abort ends an upload.
func (s *Store) abort(bucket, key, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.upload(bucket, key, id)
	if err == nil {
		s.dropUpload(u)
	}
	return err
}

// listUploads lists a bucket's uploads by key, then by id.
func (s *Store) listUploads(bucket, prefix string) ([]*upload, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, err := s.bucket(bucket); err != nil {
		return nil, err
	}
	var all []*upload
	for _, u := range s.uploads {
		if u.bucket == bucket && strings.HasPrefix(u.version.Key, prefix) {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *upload) int {
		return cmp.Or(cmp.Compare(a.version.Key, b.version.Key), cmp.Compare(a.id, b.id))
	})
	return all, nil
}
