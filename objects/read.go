package objects

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// readObject answers GetObject and HeadObject, with ranges and conditions.
func (c *call) readObject(w http.ResponseWriter) error {
	query := c.URL.Query()
	if query.Has("partNumber") {
		return c.notOffered("partNumber")
	}
	v, f, err := c.store.open(c.bucket, c.key, query.Get("versionId"))
	if err != nil {
		if v != nil && v.Deleted {
			c.out.Set("X-Amz-Delete-Marker", "true")
			c.setVersion(v)
		}
		return err
	}
	defer f.Close()
	c.setObject(v)
	for name, values := range query {
		if header, ok := strings.CutPrefix(name, "response-"); ok {
			c.out.Set(header, values[0])
		}
	}
	// A stored page must not act in the server's own origin, where the console
	// and the API are.
	c.out.Set("Content-Security-Policy", "sandbox")
	c.out.Set("Cross-Origin-Resource-Policy", "same-origin")

	content := &content{ResponseWriter: w, size: v.Size}
	http.ServeContent(content, c.Request, "", v.Modified, f)
	return content.failed
}

// setObject sets the headers that describe an object.
func (c *call) setObject(v *version) {
	c.out.Set("Content-Type", "binary/octet-stream") // S3's default
	for name, value := range v.Headers {
		c.out.Set(name, value)
	}
	c.out.Set("ETag", `"`+v.ETag+`"`)
	c.setVersion(v)
	if len(v.Tags) > 0 {
		c.out.Set("X-Amz-Tagging-Count", strconv.Itoa(len(v.Tags)))
	}
	if c.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && c.Header.Get("Range") == "" {
		c.setChecksums(v)
	}
}

func (c *call) setVersion(v *version) {
	if v.VersionID != "" {
		c.out.Set("X-Amz-Version-Id", v.VersionID)
	}
}

func (c *call) setChecksums(v *version) {
	for name, value := range v.Checksums {
		c.out.Set(name, value)
		c.out.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
}

// content takes the answers of http.ServeContent, whose errors are not S3's.
type content struct {
	http.ResponseWriter
	size   int64
	failed error
}

func (a *content) WriteHeader(status int) {
	switch {
	case status == http.StatusPreconditionFailed:
		a.failed = faultf(gofakes3.ErrPreconditionFailed, "the object is not what the conditions ask for")
	case status == http.StatusRequestedRangeNotSatisfiable:
		a.failed = faultf(gofakes3.ErrInvalidRange, "the object has %d bytes", a.size)
	case status == http.StatusOK && a.Header().Get("Content-Length") == "": // it has a Content-Encoding
		a.Header().Set("Content-Length", strconv.FormatInt(a.size, 10))
		fallthrough
	default:
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *content) Write(p []byte) (int, error) {
	if a.failed != nil {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// copyObject answers CopyObject. Nothing is copied: the files of versions do
// not change, so the copy is one more name.
func (c *call) copyObject(w http.ResponseWriter) error {
	bucket, key, versionID, err := c.copySource()
	if err != nil {
		return err
	}
	v, err := c.newVersion()
	if err != nil {
		return err
	}
	from, file, err := c.store.link(bucket, key, versionID)
	if err != nil {
		return err
	}
	v.Size, v.ETag, v.Checksums = from.Size, from.ETag, from.Checksums
	if c.Header.Get("X-Amz-Metadata-Directive") != "REPLACE" {
		v.Headers = from.Headers
	}
	if c.Header.Get("X-Amz-Tagging-Directive") != "REPLACE" {
		v.Tags = from.Tags
	}
	if err := c.store.commit(c.bucket, v, file, c.conditions()); err != nil {
		c.store.release(from.Size)
		return err
	}
	c.setVersion(v)
	if from.VersionID != "" {
		c.out.Set("X-Amz-Copy-Source-Version-Id", from.VersionID)
	}
	c.out.Set("Content-Type", "application/xml")
	writeXML(w, gofakes3.CopyObjectResult{ETag: `"` + v.ETag + `"`, LastModified: gofakes3.NewContentTime(v.Modified)})
	return nil
}

// copyPart answers UploadPartCopy: a part from a range of an object, as tools
// copy large objects.
func (c *call) copyPart(w http.ResponseWriter) error {
	bucket, key, versionID, err := c.copySource()
	if err != nil {
		return err
	}
	query := c.URL.Query()
	number, err := strconv.Atoi(query.Get("partNumber"))
	if err != nil || number < 1 || number > gofakes3.MaxUploadPartNumber {
		return faultf(gofakes3.ErrInvalidPart, "part number %q must be 1 to %d", query.Get("partNumber"), gofakes3.MaxUploadPartNumber)
	}
	v, f, err := c.store.open(bucket, key, versionID)
	if err != nil {
		return err
	}
	defer f.Close()
	first, last := int64(0), v.Size-1
	if text := c.Header.Get("X-Amz-Copy-Source-Range"); text != "" {
		if n, err := fmt.Sscanf(text, "bytes=%d-%d", &first, &last); n != 2 || err != nil || first < 0 || last < first || last >= v.Size {
			return faultf(gofakes3.ErrInvalidArgument, "x-amz-copy-source-range %q is no range of %d bytes", text, v.Size)
		}
	}
	size := last - first + 1
	etag, err := c.store.putPart(c.bucket, c.key, query.Get("uploadId"), number, io.NewSectionReader(f, first, size), size)
	if err != nil {
		return err
	}
	c.out.Set("Content-Type", "application/xml")
	writeXML(w, struct {
		XMLName      xml.Name `xml:"CopyPartResult"`
		ETag         string
		LastModified gofakes3.ContentTime
	}{ETag: `"` + etag + `"`, LastModified: gofakes3.NewContentTime(now())})
	return nil
}

// copySource is the object that a request copies.
func (c *call) copySource() (bucket, key, versionID string, err error) {
	for name := range c.Header {
		if strings.HasPrefix(name, "X-Amz-Copy-Source-If-") {
			return "", "", "", c.notOffered(strings.ToLower(name))
		}
	}
	return parseCopySource(c.Header.Get("X-Amz-Copy-Source"))
}

// parseCopySource reads "[/]BUCKET/KEY[?versionId=ID]", where the key is escaped,
// by some clients with its slashes.
func parseCopySource(header string) (bucket, key, versionID string, err error) {
	path, query, _ := strings.Cut(header, "?")
	if path, err = url.PathUnescape(path); err == nil {
		var values url.Values
		if values, err = url.ParseQuery(query); err == nil {
			versionID = values.Get("versionId")
		}
	}
	bucket, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if err != nil || !ok || key == "" {
		return "", "", "", faultf(gofakes3.ErrInvalidArgument, "x-amz-copy-source %q is not BUCKET/KEY", header)
	}
	return bucket, key, versionID, nil
}
