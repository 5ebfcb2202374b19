package objects

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"github.com/johannesboyne/gofakes3"
)

// backend is the store as gofakes3 sees it, for one request: gofakes3 tells a
// backend neither the headers nor the context, and knows few errors.
type backend struct{ call *call }

var (
	_ gofakes3.Backend          = (*backend)(nil)
	_ gofakes3.VersionedBackend = (*backend)(nil)
	_ gofakes3.MultipartBackend = (*backend)(nil)
)

// fail keeps the error for the answer. gofakes3 gets any.
func (b *backend) fail(err error) error {
	if err == nil {
		return nil
	}
	b.call.fault = err
	return gofakes3.ErrInternal
}

func (b *backend) ListBuckets() ([]gofakes3.BucketInfo, error) {
	s := b.call.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]gofakes3.BucketInfo, 0, len(s.buckets))
	for name, bucket := range s.buckets {
		all = append(all, gofakes3.BucketInfo{Name: name, CreationDate: gofakes3.NewContentTime(bucket.Created)})
	}
	slices.SortFunc(all, func(a, b gofakes3.BucketInfo) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// BucketExists is asked before everything; what it fails with names the bucket.
func (b *backend) BucketExists(name string) (bool, error) {
	_, err := b.call.store.bucketNamed(name)
	return err == nil, b.fail(err)
}

func (b *backend) DeleteBucket(name string) error { return b.fail(b.call.store.deleteBucket(name)) }

func (b *backend) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	list, err := b.call.store.listObjects(name, listing{prefix.Prefix, prefix.Delimiter, page.Marker, int(page.MaxKeys)})
	return list, b.fail(err)
}

func (b *backend) PutObject(bucket, _ string, _ map[string]string, input io.Reader, size int64, _ *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	v, err := b.call.newVersion()
	if err != nil {
		return gofakes3.PutObjectResult{}, b.fail(err)
	}
	if err := b.call.store.put(bucket, v, &checked{b.call, v, input}, size, b.call.conditions()); err != nil {
		return gofakes3.PutObjectResult{}, b.fail(err)
	}
	b.call.setChecksums(v)
	return gofakes3.PutObjectResult{VersionID: gofakes3.VersionID(v.VersionID)}, nil
}

// checked is a body that leaves its checksums with the version at its end,
// before the version is stored.
type checked struct {
	call *call
	v    *version
	io.Reader
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		c.v.Checksums = c.call.body.checksums()
	}
	return n, err
}

// DeleteObject removes the null version for good where the request names it,
// which gofakes3 does not tell from a request without a version.
func (b *backend) DeleteObject(bucket, key string) (gofakes3.ObjectDeleteResult, error) {
	if b.call.URL.Query().Get("versionId") == nullVersion {
		return b.DeleteObjectVersion(bucket, key, nullVersion)
	}
	marker, err := b.call.store.delete(bucket, key)
	return deleted(marker), b.fail(err)
}

func (b *backend) DeleteObjectVersion(bucket, key string, id gofakes3.VersionID) (gofakes3.ObjectDeleteResult, error) {
	v, err := b.call.store.deleteVersion(bucket, key, string(id))
	return deleted(v), b.fail(err)
}

func deleted(v *version) gofakes3.ObjectDeleteResult {
	if v == nil {
		return gofakes3.ObjectDeleteResult{}
	}
	return gofakes3.ObjectDeleteResult{IsDeleteMarker: v.Deleted, VersionID: gofakes3.VersionID(v.VersionID)}
}

func (b *backend) DeleteMultiVersions(bucket string, objects ...gofakes3.ObjectID) (result gofakes3.MultiDeleteResult, err error) {
	for _, o := range objects {
		if err = checkKey(o.Key); err != nil {
			// told below
		} else if o.VersionID == "" {
			_, err = b.call.store.delete(bucket, o.Key)
		} else {
			_, err = b.call.store.deleteVersion(bucket, o.Key, o.VersionID)
		}
		if err == nil {
			result.Deleted = append(result.Deleted, o)
			continue
		}
		f := asFault(err)
		result.Error = append(result.Error, gofakes3.ErrorResult{Key: o.Key, Code: f.code, Message: f.message})
	}
	return result, nil
}

func (b *backend) SetVersioningConfiguration(bucket string, config gofakes3.VersioningConfiguration) error {
	if config.MFADelete.Enabled() {
		return b.fail(faultf(gofakes3.ErrNotImplemented, "MFA delete is not offered"))
	}
	if config.Status == gofakes3.VersioningNone {
		return b.fail(faultf(gofakes3.ErrIllegalVersioningConfiguration, "Status must be Enabled or Suspended"))
	}
	return b.fail(b.call.store.changeBucket(bucket, func(r *bucketRecord) { r.Versioning = string(config.Status) }))
}

func (b *backend) ListBucketVersions(name string, prefix *gofakes3.Prefix, page *gofakes3.ListBucketVersionsPage) (*gofakes3.ListBucketVersionsResult, error) {
	result := gofakes3.NewListBucketVersionsResult(name, prefix, page)
	l := listing{prefix.Prefix, prefix.Delimiter, page.KeyMarker, int(page.MaxKeys)}
	err := b.call.store.listVersions(name, l, string(page.VersionIDMarker), result)
	return result, b.fail(err)
}

func (b *backend) CreateMultipartUpload(bucket, _ string, _ map[string]string) (gofakes3.UploadID, error) {
	v, err := b.call.newVersion()
	if err != nil {
		return "", b.fail(err)
	}
	u, err := b.call.store.createUpload(bucket, v)
	if err != nil {
		return "", b.fail(err)
	}
	return gofakes3.UploadID(u.id), nil
}

func (b *backend) UploadPart(bucket, key string, id gofakes3.UploadID, number int, size int64, input io.Reader) (string, error) {
	etag, err := b.call.store.putPart(bucket, key, string(id), number, input, size)
	for name, sum := range b.call.body.checksums() {
		b.call.out.Set(name, sum)
	}
	return `"` + etag + `"`, b.fail(err)
}

func (b *backend) CompleteMultipartUpload(bucket, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	v, err := b.call.store.complete(bucket, key, string(id), in.Parts, b.call.conditions())
	if err != nil {
		return "", "", b.fail(err)
	}
	return gofakes3.VersionID(v.VersionID), `"` + v.ETag + `"`, nil
}

func (b *backend) AbortMultipartUpload(bucket, key string, id gofakes3.UploadID) error {
	return b.fail(b.call.store.abort(bucket, key, string(id)))
}

func (b *backend) ListMultipartUploads(bucket string, marker *gofakes3.UploadListMarker, prefix gofakes3.Prefix, limit int64) (*gofakes3.ListMultipartUploadsResult, error) {
	all, err := b.call.store.listUploads(bucket, prefix.Prefix)
	if err != nil {
		return nil, b.fail(err)
	}
	result := &gofakes3.ListMultipartUploadsResult{Bucket: bucket, Prefix: prefix.Prefix, Delimiter: prefix.Delimiter, MaxUploads: limit}
	for i, u := range all {
		if marker != nil && !behind(u, marker) {
			continue
		}
		if int64(len(result.Uploads)) == limit {
			result.IsTruncated = true
			result.NextKeyMarker, result.NextUploadIDMarker = all[i-1].version.Key, gofakes3.UploadID(all[i-1].id)
			break
		}
		result.Uploads = append(result.Uploads, gofakes3.ListMultipartUploadItem{
			Key: u.version.Key, UploadID: gofakes3.UploadID(u.id), Initiated: gofakes3.NewContentTime(u.initiated),
		})
	}
	return result, nil
}

// behind says whether an upload comes after the last one of a page.
func behind(u *upload, marker *gofakes3.UploadListMarker) bool {
	return u.version.Key > marker.Object || u.version.Key == marker.Object && marker.UploadID != "" && u.id > string(marker.UploadID)
}

func (b *backend) ListParts(bucket, key string, id gofakes3.UploadID, marker int, limit int64) (*gofakes3.ListMultipartUploadPartsResult, error) {
	s := b.call.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	u, err := s.upload(bucket, key, string(id))
	if err != nil {
		return nil, b.fail(err)
	}
	result := &gofakes3.ListMultipartUploadPartsResult{Bucket: bucket, Key: key, UploadID: id, PartNumberMarker: marker, MaxParts: limit}
	for number := marker + 1; number <= gofakes3.MaxUploadPartNumber; number++ {
		p, ok := u.parts[number]
		if !ok {
			continue
		}
		if int64(len(result.Parts)) == limit {
			result.IsTruncated = true
			break
		}
		result.NextPartNumberMarker = number
		result.Parts = append(result.Parts, gofakes3.ListMultipartUploadPartItem{
			PartNumber: number, LastModified: gofakes3.NewContentTime(p.modified), ETag: `"` + p.etag() + `"`, Size: p.size,
		})
	}
	return result, nil
}

// The rest of the interface is answered before gofakes3 is asked; see call.

func (b *backend) unused() error {
	return b.fail(faultf(gofakes3.ErrNotImplemented, "Isolde does not offer this operation"))
}

func (b *backend) VersioningConfiguration(string) (gofakes3.VersioningConfiguration, error) {
	return gofakes3.VersioningConfiguration{}, b.unused()
}
func (b *backend) CreateBucket(string) error      { return b.unused() }
func (b *backend) ForceDeleteBucket(string) error { return b.unused() }
func (b *backend) GetObject(string, string, *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return nil, b.unused()
}
func (b *backend) HeadObject(string, string) (*gofakes3.Object, error) { return nil, b.unused() }
func (b *backend) GetObjectVersion(string, string, gofakes3.VersionID, *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return nil, b.unused()
}

func (b *backend) HeadObjectVersion(string, string, gofakes3.VersionID) (*gofakes3.Object, error) {
	return nil, b.unused()
}

func (b *backend) DeleteMulti(string, ...string) (gofakes3.MultiDeleteResult, error) {
	return gofakes3.MultiDeleteResult{}, b.unused()
}

func (b *backend) CopyObject(string, string, string, string, map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObjectResult{}, b.unused()
}
