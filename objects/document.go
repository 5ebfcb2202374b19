package objects

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// documents are the settings of a bucket that are kept and given back, and
// have no effect: by sub-resource, the code of S3's answer when there is none.
var documents = map[string]gofakes3.ErrorCode{
	"cors":              "NoSuchCORSConfiguration",
	"encryption":        "ServerSideEncryptionConfigurationNotFoundError",
	"lifecycle":         "NoSuchLifecycleConfiguration",
	"ownershipControls": "OwnershipControlsNotFoundError",
	"policy":            "NoSuchBucketPolicy", // the one in JSON
	"publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
	"tagging":           "NoSuchTagSet",
}

// maxSetting bounds one of a bucket's documents; AWS allows a policy 20 KB.
const maxSetting = 64 << 10

// serveDocument keeps a document, gives it back, or forgets it.
func (c *call) serveDocument(w http.ResponseWriter, sub string) error {
	switch c.Method {
	case http.MethodPut:
		c.limitBody(maxSetting)
		text, err := io.ReadAll(c.body)
		if err != nil {
			return err
		}
		if err := checkDocument(sub, text); err != nil {
			return err
		}
		return c.store.changeBucket(c.bucket, func(b *bucketRecord) {
			b.Documents = maps.Clone(b.Documents)
			if b.Documents == nil {
				b.Documents = map[string]string{}
			}
			b.Documents[sub] = string(text)
		})
	case http.MethodGet:
		return c.writeDocument(w, sub)
	case http.MethodDelete:
		err := c.store.changeBucket(c.bucket, func(b *bucketRecord) {
			b.Documents = maps.Clone(b.Documents)
			delete(b.Documents, sub)
		})
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}
	return c.notOffered(sub)
}

func (c *call) writeDocument(w http.ResponseWriter, sub string) error {
	b, err := c.store.bucketNamed(c.bucket)
	if err != nil {
		return err
	}
	text, ok := b.Documents[sub]
	if !ok {
		f := faultf(documents[sub], "bucket %q has no %s", c.bucket, sub)
		f.status = http.StatusNotFound
		return f
	}
	contentType := "application/xml"
	if sub == "policy" {
		contentType = "application/json"
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = io.WriteString(w, text) // the client is gone if this fails
	return nil
}

// checkDocument refuses what no client could read back.
func checkDocument(sub string, text []byte) error {
	if sub == "policy" {
		if !json.Valid(text) {
			return &fault{code: "MalformedPolicy", status: http.StatusBadRequest, message: "the policy is not JSON"}
		}
		return nil
	}
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) && d.InputOffset() > 0 {
			return nil
		}
		if err != nil {
			return faultf(gofakes3.ErrMalformedXML, "the body is not XML: %v", err)
		}
	}
}

// bucketNamed is a bucket's record as it is now.
func (s *Store) bucketNamed(name string) (bucketRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return bucketRecord{}, err
	}
	return b.bucketRecord, nil
}

// createBucket answers CreateBucket. A bucket that exists is the caller's, as
// there is one account: us-east-1 lets it be made again, other regions do not.
func (c *call) createBucket(w http.ResponseWriter) error {
	c.limitBody(maxSetting)
	var config struct {
		XMLName  xml.Name `xml:"CreateBucketConfiguration"`
		Location string   `xml:"LocationConstraint"`
	}
	if err := c.readXML(&config); err != nil {
		return err
	}
	region := config.Location
	if region == "" {
		region = c.region
	}
	created, err := c.store.createBucket(c.bucket, region)
	if err != nil {
		return err
	}
	if !created && c.region != "us-east-1" {
		return faultf(codeOwned, "there is a bucket %q already, and it is yours", c.bucket)
	}
	w.Header().Set("Location", "/"+c.bucket)
	w.WriteHeader(http.StatusOK)
	return nil
}

// bucketLocation answers GetBucketLocation, where us-east-1 is an empty word.
func (c *call) bucketLocation(w http.ResponseWriter) error {
	b, err := c.store.bucketNamed(c.bucket)
	if err != nil {
		return err
	}
	if b.Region == "us-east-1" {
		b.Region = ""
	}
	w.Header().Set("Content-Type", "application/xml")
	writeXML(w, gofakes3.GetBucketLocation{Xmlns: namespace, LocationConstraint: b.Region})
	return nil
}

// bucketVersioning answers GetBucketVersioning, without a status where there
// never was one: clients tell that from an empty one.
func (c *call) bucketVersioning(w http.ResponseWriter) error {
	b, err := c.store.bucketNamed(c.bucket)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/xml")
	writeXML(w, struct {
		XMLName xml.Name `xml:"VersioningConfiguration"`
		Xmlns   string   `xml:"xmlns,attr"`
		Status  string   `xml:",omitempty"`
	}{Xmlns: namespace, Status: b.Versioning})
	return nil
}

// headBucket answers HeadBucket.
func (c *call) headBucket(w http.ResponseWriter) error {
	b, err := c.store.bucketNamed(c.bucket)
	if err != nil {
		return err
	}
	w.Header().Set("X-Amz-Bucket-Region", b.Region)
	w.WriteHeader(http.StatusOK)
	return nil
}
