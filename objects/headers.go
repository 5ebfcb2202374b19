package objects

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// kept are the headers that an object gives back as they came, beside
// x-amz-meta-….
var kept = []string{"Content-Type", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control", "Expires"}

// maxMetadata bounds the x-amz-meta- headers of an object, in bytes, as at AWS.
const maxMetadata = 2048

// newVersion begins a version from the headers of a request that stores it.
func (c *call) newVersion() (*version, error) {
	v := &version{Key: c.key, Headers: map[string]string{}}
	for _, name := range kept {
		if value := c.Header.Get(name); value != "" {
			v.Headers[name] = value
		}
	}
	size := 0
	for name, values := range c.Header {
		if key, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
			v.Headers[name] = strings.Join(values, ",")
			size += len(key) + len(v.Headers[name])
		}
	}
	if size > maxMetadata {
		return nil, faultf(gofakes3.ErrMetadataTooLarge, "the x-amz-meta- headers have %d bytes; %d are allowed", size, maxMetadata)
	}
	query, err := url.ParseQuery(c.Header.Get("X-Amz-Tagging"))
	if err != nil {
		return nil, faultf(gofakes3.ErrInvalidArgument, "x-amz-tagging %q is not a query string", c.Header.Get("X-Amz-Tagging"))
	}
	for key := range query {
		v.Tags = append(v.Tags, tag{key, query.Get(key)})
	}
	slices.SortFunc(v.Tags, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return v, nil
}

// conditions are those of a request that stores something.
func (c *call) conditions() (cond gofakes3.PutConditions) {
	if v := c.Header.Get("If-Match"); v != "" {
		cond.IfMatch = &v
	}
	if v := c.Header.Get("If-None-Match"); v != "" {
		cond.IfNoneMatch = &v
	}
	return cond
}

// tag is a label of an object.
type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// tagging is the XML of an object's tags.
type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Tags    []tag    `xml:"TagSet>Tag"`
}

// serveTags answers PutObjectTagging, GetObjectTagging and DeleteObjectTagging.
func (c *call) serveTags(w http.ResponseWriter) error {
	versionID := c.URL.Query().Get("versionId")
	switch c.Method {
	case http.MethodGet:
		c.store.mu.RLock()
		v, err := c.store.find(c.bucket, c.key, versionID)
		c.store.mu.RUnlock()
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/xml")
		writeXML(w, tagging{Xmlns: namespace, Tags: v.Tags})
		return nil
	case http.MethodPut:
		c.limitBody(maxDocument)
		var doc tagging
		if err := c.readXML(&doc); err != nil {
			return err
		}
		return c.store.setTags(c.bucket, c.key, versionID, doc.Tags)
	case http.MethodDelete:
		if err := c.store.setTags(c.bucket, c.key, versionID, nil); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return c.notOffered("tagging")
}

// namespace is that of S3's XML.
const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// readXML reads the whole body; an empty one leaves into as it is.
func (c *call) readXML(into any) error {
	text, err := io.ReadAll(c.body)
	if err != nil || len(text) == 0 {
		return err
	}
	if err := xml.Unmarshal(text, into); err != nil {
		return faultf(gofakes3.ErrMalformedXML, "the body is not the XML of this operation: %v", err)
	}
	return nil
}

// setTags replaces the tags of a version. Readers may hold the version, so it
// is replaced as well.
func (s *Store) setTags(bucket, key, versionID string, tags []tag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.find(bucket, key, versionID)
	if err != nil {
		return err
	}
	next := *v
	next.Tags = tags
	if err := s.writeJSON(s.record(bucket, v.ID), &next); err != nil {
		return diskFault(err)
	}
	b := s.buckets[bucket]
	b.take(v)
	b.insert(&next)
	return nil
}
