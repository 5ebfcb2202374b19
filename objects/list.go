package objects

import (
	"slices"
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// listing walks a bucket's keys in order, for one page of a list.
type listing struct {
	prefix    string
	delimiter string // folds what is behind it into one common prefix; may be empty
	after     string // a key or common prefix, where the last page ended
	max       int
}

// page is a page of keys and common prefixes.
type page struct {
	keys     []string
	prefixes []string
	last     string // the last of both
	more     bool
}

// run makes the page of those keys that has says true of.
func (l listing) run(b *bucket, has func(key string) bool) (p page) {
	at, found := slices.BinarySearch(b.keys, max(l.prefix, l.after))
	if found && l.after != "" && b.keys[at] == l.after {
		at++
	}
	for _, key := range b.keys[at:] {
		if !strings.HasPrefix(key, l.prefix) {
			break
		}
		common := l.common(key)
		if common != "" && (common == p.last || common == l.after) || !has(key) {
			continue
		}
		if len(p.keys)+len(p.prefixes) == l.max {
			p.more = l.max > 0
			break
		}
		if common != "" {
			p.prefixes = append(p.prefixes, common)
			p.last = common
		} else {
			p.keys = append(p.keys, key)
			p.last = key
		}
	}
	return p
}

// common is the common prefix that a key is folded into; empty if it is not.
func (l listing) common(key string) string {
	if l.delimiter == "" {
		return ""
	}
	if i := strings.Index(key[len(l.prefix):], l.delimiter); i >= 0 {
		return key[:len(l.prefix)+i+len(l.delimiter)]
	}
	return ""
}

// listObjects is a page of ListObjects and ListObjectsV2.
func (s *Store) listObjects(name string, l listing) (*gofakes3.ObjectList, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	p := l.run(b, func(key string) bool { return !b.latest(key).Deleted })
	list := gofakes3.NewObjectList()
	for _, common := range p.prefixes {
		list.AddPrefix(common)
	}
	for _, key := range p.keys {
		v := b.latest(key)
		list.Add(&gofakes3.Content{Key: key, LastModified: gofakes3.NewContentTime(v.Modified), ETag: `"` + v.ETag + `"`, Size: v.Size})
	}
	if p.more {
		list.IsTruncated, list.NextMarker = true, p.last
	}
	return list, nil
}

// listVersions is a page of ListObjectVersions. A page ends between keys where
// it can: only a key with more versions than fit is cut, and goes on at from.
func (s *Store) listVersions(name string, l listing, from string, result *gofakes3.ListBucketVersionsResult) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	n := 0
	add := func(v *version) bool {
		if n == l.max {
			result.IsTruncated = n > 0
			return false
		}
		n++
		result.Versions = append(result.Versions, versionItem(v, v == b.latest(v.Key)))
		result.NextKeyMarker, result.NextVersionIDMarker = v.Key, gofakes3.VersionID(orNull(v.VersionID))
		return true
	}
	if from != "" { // within the key of l.after
		all := b.versions[l.after]
		at := slices.IndexFunc(all, func(v *version) bool { return orNull(v.VersionID) == from })
		for _, v := range all[at+1:] {
			if !add(v) {
				return nil
			}
		}
	}
	one := l
	one.max = 1
	for {
		p := one.run(b, func(string) bool { return true })
		for _, common := range p.prefixes {
			if n == l.max {
				result.IsTruncated = n > 0
				return nil
			}
			n++
			result.AddPrefix(common)
			result.NextKeyMarker, result.NextVersionIDMarker = common, ""
		}
		for _, key := range p.keys {
			for _, v := range b.versions[key] {
				if !add(v) {
					return nil
				}
			}
		}
		if !p.more {
			result.NextKeyMarker, result.NextVersionIDMarker = "", ""
			return nil
		}
		one.after = p.last
	}
}

func orNull(versionID string) string {
	if versionID == "" {
		return nullVersion
	}
	return versionID
}

func versionItem(v *version, latest bool) gofakes3.VersionItem {
	id, modified := gofakes3.VersionID(orNull(v.VersionID)), gofakes3.NewContentTime(v.Modified)
	if v.Deleted {
		return &gofakes3.DeleteMarker{Key: v.Key, VersionID: id, IsLatest: latest, LastModified: modified}
	}
	return &gofakes3.Version{
		Key: v.Key, VersionID: id, IsLatest: latest, LastModified: modified,
		Size: v.Size, StorageClass: gofakes3.StorageStandard, ETag: `"` + v.ETag + `"`,
	}
}
