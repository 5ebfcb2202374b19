package objects

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"github.com/isolde-run/isolde"
)

// Fetch writes an object's bytes to w and returns how many, read from the
// files without HTTP. Errors are for people: CodeInvalid when there is no such
// bucket, key or version, naming those that there are, and when the object has
// more than limit bytes, which is found before anything is written. An error
// of w is returned as it is. ctx ends the reading.
func (s *Store) Fetch(ctx context.Context, loc isolde.S3Location, limit int64, w io.Writer) (n int64, err error) {
	v, f, err := s.open(loc.Bucket, loc.Key, loc.VersionID)
	if err != nil {
		return 0, s.explain(loc, asFault(err))
	}
	defer f.Close()
	if v.Size > limit {
		return 0, tooLarge(loc, v.Size, limit)
	}
	return io.Copy(w, &endable{ctx, f})
}

// endable is a reader that ends with its context.
type endable struct {
	ctx context.Context
	r   io.Reader
}

func (e *endable) Read(p []byte) (int, error) {
	if err := context.Cause(e.ctx); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

func (s *Store) explain(loc isolde.S3Location, f *fault) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch b := s.buckets[loc.Bucket]; f.code {
	case gofakes3.ErrNoSuchBucket:
		var names []string
		for name := range s.buckets {
			names = append(names, name)
		}
		return noBucket(loc, names)
	case gofakes3.ErrNoSuchKey:
		if b == nil {
			return noKey(loc, nil)
		}
		var keys []string
		for _, key := range b.keys {
			if !b.latest(key).Deleted {
				keys = append(keys, key)
			}
		}
		return noKey(loc, keys)
	case gofakes3.ErrNoSuchVersion, gofakes3.ErrMethodNotAllowed:
		var ids []string
		if b != nil {
			for _, v := range b.versions[loc.Key] {
				if !v.Deleted {
					ids = append(ids, orNull(v.VersionID))
				}
			}
		}
		return noVersion(loc, ids)
	}
	return isolde.Errorf(isolde.CodeInternal, "%s cannot be read", loc).WithHint("the server's log has the cause").WithCause(f)
}

func tooLarge(loc isolde.S3Location, size, limit int64) error {
	return isolde.Errorf(isolde.CodeInvalid, "%s has %d bytes; %d are allowed", loc, size, limit).
		WithHint("leave out of the archive what the agent does not need")
}

func noBucket(loc isolde.S3Location, names []string) error {
	err := isolde.Errorf(isolde.CodeInvalid, "there is no bucket %q", loc.Bucket)
	if len(names) == 0 {
		return err.WithHint("this server has no buckets; create one and upload the archive, with AWS_ENDPOINT_URL_S3 set to this server")
	}
	return err.WithHint("there is %s; upload the archive with AWS_ENDPOINT_URL_S3 set to this server", list(nearest(loc.Bucket, names)))
}

func noKey(loc isolde.S3Location, keys []string) error {
	err := isolde.Errorf(isolde.CodeInvalid, "bucket %q has no object with key %q", loc.Bucket, loc.Key)
	if len(keys) == 0 {
		return err.WithHint("upload the archive first; prefix is the object's whole key")
	}
	return err.WithHint("there is %s; prefix is the object's whole key", list(nearest(loc.Key, keys)))
}

func noVersion(loc isolde.S3Location, ids []string) error {
	err := isolde.Errorf(isolde.CodeInvalid, "%s has no version %q", loc, loc.VersionID)
	if len(ids) == 0 {
		return err.WithHint("leave versionId out to take the newest")
	}
	return err.WithHint("there is %s; leave versionId out to take the newest", list(ids[:min(len(ids), maxNearest)]))
}

// maxNearest is how many names a person is offered.
const maxNearest = 4

// nearest are the names most like what was asked for: those that share the
// most at their beginning and end. It is linear in what it reads, as names are
// strangers' and many.
func nearest(asked string, names []string) []string {
	likeness := func(name string) int {
		head := 0
		for head < min(len(asked), len(name)) && asked[head] == name[head] {
			head++
		}
		a, n := asked[head:], name[head:]
		tail := 0
		for tail < min(len(a), len(n)) && a[len(a)-1-tail] == n[len(n)-1-tail] {
			tail++
		}
		return head + tail
	}
	names = slices.Clone(names)
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(likeness(b), likeness(a)), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return names[:min(len(names), maxNearest)]
}

func list(names []string) string { return strings.Join(names, ", ") }
