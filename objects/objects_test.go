package objects

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
)

// strange are keys that would hurt a store that names files after them.
var strange = []string{
	"code.zip", "agent/code.zip", "a", "a/b", "a/", "a//b", "/rooted", "../../etc/passwd", "a/../b", "./c", "..", ".",
	"übung/日本語 + &%.zip", "name with  spaces", "bucket.json", "back\\slash", "q?uery#x", "<xml>&amp;", "a%2Fb",
	strings.Repeat("x", 300) + "/" + strings.Repeat("y", 300), strings.Repeat("k", 1024),
}

func TestStrangeKeys(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("strange-keys")
	for i, key := range strange {
		b.put(bucket, key, fmt.Sprint("text ", i))
	}
	for round := range 2 {
		for i, key := range strange {
			if got, err := b.get(bucket, key, ""); err != nil || got != fmt.Sprint("text ", i) {
				t.Errorf("get %q = %q, %v", key, got, err)
			}
		}
		var listed []string
		pages := s3.NewListObjectsV2Paginator(b.s3, &s3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(4)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				listed = append(listed, *o.Key)
			}
		}
		want := slices.Clone(strange)
		slices.Sort(want)
		if diff := cmp.Diff(want, listed); diff != "" {
			t.Errorf("keys listed (-want +got):\n%s", diff)
		}
		if round == 0 {
			b.reopen()
		}
	}
	if n := len(b.files("buckets")); n != 2*len(strange) {
		t.Errorf("%d files for %d objects", n, len(strange))
	}
	for _, key := range strange {
		if _, err := b.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if left := b.files(""); len(left) != 0 || b.store.used.Load() != 0 {
		t.Errorf("left behind: %d bytes, %q", b.store.used.Load(), left)
	}
}

func TestRefusedKeys(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("refused")
	for key, want := range map[string]string{
		strings.Repeat("k", 1025): "KeyTooLongError",
		"a\x00b":                  "InvalidArgument",
		"line\nbreak":             "InvalidArgument",
	} {
		_, err := b.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key})
		if codeOf(err) != want {
			t.Errorf("put %.20q: %v, want %s", key, err, want)
		}
		_, err = b.s3.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
		if codeOf(err) != want {
			t.Errorf("upload %.20q: %v, want %s", key, err, want)
		}
	}
}

func TestBuckets(t *testing.T) {
	b := newBed(t, 0)
	ctx := t.Context()
	for _, name := range []string{"ab", "UPPER", "..", "a..b", "dots.and.more", "-x-", "bucket_name"} {
		_, err := b.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
		if ok := name == "dots.and.more"; ok != (err == nil) || !ok && codeOf(err) != "InvalidBucketName" {
			t.Errorf("create %q: %v", name, err)
		}
	}
	west := b.client("eu-west-1")
	name := aws.String("in-the-west")
	in := &s3.CreateBucketInput{Bucket: name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}}
	if _, err := west.CreateBucket(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := west.CreateBucket(ctx, in); codeOf(err) != "BucketAlreadyOwnedByYou" {
		t.Errorf("created again: %v", err)
	}
	b.bucket("in-the-east")
	b.bucket("in-the-east") // us-east-1 allows it
	b.reopen()
	if out, err := west.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: name}); err != nil || out.LocationConstraint != "eu-west-1" {
		t.Errorf("location = %+v, %v", out, err)
	}
	if out, err := b.s3.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String("in-the-east")}); err != nil || out.LocationConstraint != "" {
		t.Errorf("location = %+v, %v", out, err)
	}
	if out, err := b.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name}); err != nil || aws.ToString(out.BucketRegion) != "eu-west-1" {
		t.Errorf("head = %+v, %v", out, err)
	}
	if _, err := b.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("no-such")}); codeOf(err) != "NotFound" {
		t.Errorf("head of none: %v", err)
	}
	out, err := b.s3.ListBuckets(ctx, nil)
	if err != nil || len(out.Buckets) != 3 || *out.Buckets[0].Name != "dots.and.more" || out.Buckets[0].CreationDate.IsZero() {
		t.Errorf("list = %+v, %v", out, err)
	}
	b.put("in-the-east", "k", "v")
	if _, err := b.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("in-the-east")}); codeOf(err) != "BucketNotEmpty" {
		t.Errorf("delete a full bucket: %v", err)
	}
	if _, err := west.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}); err != nil {
		t.Error(err)
	}
	b.reopen()
	if _, err := b.get(*name, "k", ""); codeOf(err) != "NoSuchBucket" {
		t.Errorf("get from a deleted bucket: %v", err)
	}
}

func TestObjects(t *testing.T) {
	b := newBed(t, 0)
	ctx, bucket, key := t.Context(), aws.String(b.bucket("objects")), aws.String("dir/code.zip")
	put, err := b.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: key, Body: strings.NewReader("0123456789"), ContentType: aws.String("application/zip"),
		ContentEncoding: aws.String("identity"), CacheControl: aws.String("no-store"), ExpectedBucketOwner: aws.String("000000000000"),
		Metadata: map[string]string{"build": "7"}, Tagging: aws.String("team=agents&env=dev"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil || aws.ToString(put.ETag) != `"781e5e245d69b566979b86e28d23f2c7"` || aws.ToString(put.ChecksumSHA256) == "" {
		t.Fatalf("put = %+v, %v", put, err)
	}
	b.reopen()
	head, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{*head.ETag, *head.ContentType, *head.ContentEncoding, *head.CacheControl, head.Metadata["build"], fmt.Sprint(*head.ContentLength, *head.TagCount), *head.ChecksumSHA256}
	want := []string{*put.ETag, "application/zip", "identity", "no-store", "7", "10 2", *put.ChecksumSHA256}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
	for r, want := range map[string]string{"bytes=2-4": "234", "bytes=7-": "789", "bytes=-2": "89", "bytes=0-99": "0123456789"} {
		out, err := b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, Range: &r})
		if err != nil {
			t.Errorf("%s: %v", r, err)
			continue
		}
		if text, err := io.ReadAll(out.Body); string(text) != want || err != nil || out.ContentRange == nil {
			t.Errorf("%s = %q, %v, %v", r, text, out.ContentRange, err)
		}
		out.Body.Close()
	}
	_, err = b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, Range: aws.String("bytes=10-")})
	if codeOf(err) != "InvalidRange" {
		t.Errorf("range behind the end: %v", err)
	}
	_, err = b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: aws.String(`"other"`)})
	if codeOf(err) != "PreconditionFailed" {
		t.Errorf("get of another ETag: %v", err)
	}
	_, err = b.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, IfNoneMatch: aws.String("*")})
	if codeOf(err) != "PreconditionFailed" {
		t.Errorf("put if none: %v", err)
	}
	if _, err := b.get(*bucket, "none", ""); codeOf(err) != "NoSuchKey" {
		t.Errorf("get of none: %v", err)
	}
	if _, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("none")}); codeOf(err) != "NotFound" {
		t.Errorf("head of none: %v", err)
	}
	testCopy(b, *bucket, *key)
	testTags(b, bucket, key)
}

func testCopy(b *bed, bucket, key string) {
	ctx := b.Context()
	in := &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("copy"), CopySource: aws.String(bucket + "/" + key)}
	if out, err := b.s3.CopyObject(ctx, in); err != nil || aws.ToString(out.CopyObjectResult.ETag) != `"781e5e245d69b566979b86e28d23f2c7"` {
		b.Fatalf("copy = %+v, %v", out, err)
	}
	in.Key, in.MetadataDirective, in.ContentType = aws.String("copy2"), types.MetadataDirectiveReplace, aws.String("text/plain")
	if _, err := b.s3.CopyObject(ctx, in); err != nil {
		b.Fatal(err)
	}
	if _, err := b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("copy2")}); err != nil {
		b.Fatal(err)
	}
	if text, err := b.get(bucket, "copy", ""); text != "0123456789" {
		b.Errorf("copy = %q, %v", text, err)
	}
	head, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("copy")})
	if err != nil || head.Metadata["build"] != "7" || *head.ContentType != "application/zip" {
		b.Errorf("copy has %+v, %v", head, err)
	}
	in.CopySource = aws.String(bucket + "/none")
	if _, err := b.s3.CopyObject(ctx, in); codeOf(err) != "NoSuchKey" {
		b.Errorf("copy of none: %v", err)
	}
}

func testTags(b *bed, bucket, key *string) {
	ctx := b.Context()
	tags := func() (got []string) {
		out, err := b.s3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: bucket, Key: key})
		if err != nil {
			b.Fatal(err)
		}
		for _, t := range out.TagSet {
			got = append(got, *t.Key+"="+*t.Value)
		}
		return got
	}
	if diff := cmp.Diff([]string{"env=dev", "team=agents"}, tags()); diff != "" {
		b.Error(diff)
	}
	_, err := b.s3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: bucket, Key: key, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.reopen()
	if diff := cmp.Diff([]string{"a=b"}, tags()); diff != "" {
		b.Error(diff)
	}
	if _, err := b.s3.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: bucket, Key: key}); err != nil || len(tags()) != 0 {
		b.Errorf("tags = %q, %v", tags(), err)
	}
	if text, err := b.get(*bucket, *key, ""); text != "0123456789" {
		b.Errorf("tagging changed the object to %q, %v", text, err)
	}
}

func TestMultipart(t *testing.T) {
	b := newBed(t, 0)
	ctx, bucket, key := t.Context(), aws.String(b.bucket("multipart")), aws.String("big.zip")
	text := make([]byte, 12<<20)
	if _, err := rand.Read(text); err != nil {
		t.Fatal(err)
	}
	create, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key, ContentType: aws.String("application/zip"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for i, size := range []int{5 << 20, 6 << 20, 1 << 20} {
		n := aws.Int32(int32(i + 1))
		for range 2 { // the second takes the first one's place
			out, err := b.s3.UploadPart(ctx, &s3.UploadPartInput{
				Bucket: bucket, Key: key, UploadId: create.UploadId, PartNumber: n, Body: bytes.NewReader(text[:size]), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(parts) == i {
				parts = append(parts, types.CompletedPart{PartNumber: n, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
			}
		}
	}
	uploads, err := b.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
	if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *create.UploadId {
		t.Errorf("uploads = %+v, %v", uploads, err)
	}
	listed, err := b.s3.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: create.UploadId, MaxParts: aws.Int32(2)})
	if err != nil || len(listed.Parts) != 2 || !*listed.IsTruncated || *listed.NextPartNumberMarker != "2" || *listed.Parts[1].Size != 6<<20 {
		t.Errorf("parts = %+v, %v", listed, err)
	}
	complete := &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: create.UploadId, MultipartUpload: &types.CompletedMultipartUpload{}}
	extra, err := b.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: create.UploadId, PartNumber: aws.Int32(4), Body: strings.NewReader("x")})
	if err != nil {
		t.Fatal(err)
	}
	other := parts[0]
	other.ETag = aws.String(`"0"`)
	for want, wrong := range map[string][]types.CompletedPart{
		"InvalidPart":      {other},
		"InvalidPartOrder": {parts[1], parts[0]},
		"EntityTooSmall":   {parts[2], {PartNumber: aws.Int32(4), ETag: extra.ETag}},
		"MalformedXML":     {},
	} {
		complete.MultipartUpload.Parts = wrong
		if _, err := b.s3.CompleteMultipartUpload(ctx, complete); codeOf(err) != want {
			t.Errorf("complete: %v, want %s", err, want)
		}
	}
	complete.MultipartUpload.Parts = parts
	out, err := b.s3.CompleteMultipartUpload(ctx, complete)
	if err != nil || !strings.HasSuffix(aws.ToString(out.ETag), `-3"`) {
		t.Fatalf("complete = %+v, %v", out, err)
	}
	want := slices.Concat(text[:5<<20], text[:6<<20], text[:1<<20])
	if got, err := b.get(*bucket, *key, ""); err != nil || got != string(want) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if b.store.used.Load() != int64(len(want)) || len(b.files("tmp")) != 0 {
		t.Errorf("%d bytes used; left in tmp: %q", b.store.used.Load(), b.files("tmp"))
	}
	if _, err := b.s3.CompleteMultipartUpload(ctx, complete); codeOf(err) != "NoSuchUpload" {
		t.Errorf("completed again: %v", err)
	}
	testCopyParts(b, *bucket, *key, string(want))
}

// testCopyParts copies a large object as tools do.
func testCopyParts(b *bed, bucket, key, want string) {
	ctx := b.Context()
	create, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("copy")})
	if err != nil {
		b.Fatal(err)
	}
	copyPart := func(n int32, what string) (*s3.UploadPartCopyOutput, error) {
		return b.s3.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: &bucket, Key: aws.String("copy"), UploadId: create.UploadId, PartNumber: &n, CopySource: aws.String(bucket + "/" + key), CopySourceRange: &what,
		})
	}
	if _, err := copyPart(1, fmt.Sprintf("bytes=0-%d", len(want))); codeOf(err) != "InvalidArgument" {
		b.Errorf("a range behind the end: %v", err)
	}
	var parts []types.CompletedPart
	for i, what := range []string{fmt.Sprintf("bytes=0-%d", 6<<20-1), fmt.Sprintf("bytes=%d-%d", 6<<20, len(want)-1)} {
		out, err := copyPart(int32(i+1), what)
		if err != nil {
			b.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.CopyPartResult.ETag})
	}
	_, err = b.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: aws.String("copy"), UploadId: create.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil {
		b.Fatal(err)
	}
	if got, err := b.get(bucket, "copy", ""); err != nil || got != want {
		b.Errorf("copied %d bytes, %v", len(got), err)
	}
}

// TestAbort leaves nothing of an upload, nor of one whose bucket is deleted.
func TestAbort(t *testing.T) {
	b := newBed(t, 0)
	ctx, bucket := t.Context(), aws.String(b.bucket("aborts"))
	begin := func() *string {
		out, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: aws.String("k"), UploadId: out.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("part")})
		if err != nil {
			t.Fatal(err)
		}
		return out.UploadId
	}
	empty := func(when string) {
		t.Helper()
		if left := b.files("tmp"); len(left) != 0 || b.store.used.Load() != 0 {
			t.Errorf("%s: %d bytes used, files %q", when, b.store.used.Load(), left)
		}
	}
	id := begin()
	abort := &s3.AbortMultipartUploadInput{Bucket: bucket, Key: aws.String("k"), UploadId: id}
	if _, err := b.s3.AbortMultipartUpload(ctx, abort); err != nil {
		t.Error(err)
	}
	empty("aborted")
	if _, err := b.s3.AbortMultipartUpload(ctx, abort); codeOf(err) != "NoSuchUpload" {
		t.Errorf("aborted again: %v", err)
	}
	begin()
	b.store.uploads[onlyKey(b.store.uploads)].touched = time.Now().Add(-2 * uploadLife)
	id = begin()
	if len(b.store.uploads) != 1 {
		t.Errorf("%d uploads: the abandoned one is there", len(b.store.uploads))
	}
	if _, err := b.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket}); err != nil {
		t.Error(err)
	}
	empty("bucket deleted")
	_, err := b.s3.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: aws.String("k"), UploadId: id})
	if codeOf(err) != "NoSuchBucket" {
		t.Errorf("parts in a deleted bucket: %v", err)
	}
	b.bucket(*bucket)
	begin()
	if err := b.store.Close(); err != nil {
		t.Error(err)
	}
	empty("closed")
}

func onlyKey[V any](m map[string]V) string {
	for k := range m {
		return k
	}
	return ""
}

func TestVersions(t *testing.T) {
	b := newBed(t, 0)
	ctx, bucket := t.Context(), b.bucket("versions")
	b.put(bucket, "k", "before")
	enable := func(status types.BucketVersioningStatus) {
		t.Helper()
		_, err := b.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: status}})
		if err != nil {
			t.Fatal(err)
		}
		b.reopen()
		if out, err := b.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &bucket}); err != nil || out.Status != status {
			t.Errorf("versioning = %+v, %v", out, err)
		}
	}
	enable(types.BucketVersioningStatusEnabled)
	one, two := *b.put(bucket, "k", "one").VersionId, *b.put(bucket, "k", "two").VersionId
	gone, err := b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("k")})
	if err != nil || !*gone.DeleteMarker {
		t.Fatalf("delete = %+v, %v", gone, err)
	}
	b.reopen()
	for version, want := range map[string]string{one: "one", two: "two", "null": "before"} {
		if got, err := b.get(bucket, "k", version); got != want {
			t.Errorf("version %s = %q, %v; want %q", version, got, err, want)
		}
	}
	if _, err := b.get(bucket, "k", ""); codeOf(err) != "NoSuchKey" {
		t.Errorf("get of a deleted key: %v", err)
	}
	if _, err := b.get(bucket, "k", *gone.VersionId); codeOf(err) != "MethodNotAllowed" {
		t.Errorf("get of a marker: %v", err)
	}
	if _, err := b.get(bucket, "k", "nonsense"); codeOf(err) != "NoSuchVersion" {
		t.Errorf("get of no version: %v", err)
	}
	head, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k"), VersionId: &one})
	if err != nil || *head.ContentLength != 3 || *head.VersionId != one {
		t.Errorf("head = %+v, %v", head, err)
	}
	if _, err := b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("k"), VersionId: gone.VersionId}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.get(bucket, "k", ""); got != "two" {
		t.Errorf("after the marker is deleted: %q, %v", got, err)
	}
	enable(types.BucketVersioningStatusSuspended)
	b.put(bucket, "k", "null again")
	if _, err := b.get(bucket, "k", "null"); err != nil {
		t.Error(err)
	}
	b.put(bucket, "dir/other", "x")

	var ids []types.ObjectIdentifier
	pages := s3.NewListObjectVersionsPaginator(b.s3, &s3.ListObjectVersionsInput{Bucket: &bucket, MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			ids = append(ids, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
	}
	var got []string
	for _, id := range ids {
		got = append(got, *id.Key+" "+*id.VersionId)
	}
	if diff := cmp.Diff([]string{"dir/other null", "k null", "k " + two, "k " + one}, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	out, err := b.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: ids}})
	if err != nil || len(out.Errors) != 0 || len(out.Deleted) != 4 {
		t.Fatalf("delete = %+v, %v", out, err)
	}
	if _, err := b.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err != nil {
		t.Error(err)
	}
}

func TestFolders(t *testing.T) {
	b := newBed(t, 0)
	ctx, bucket := t.Context(), b.bucket("folders")
	for _, key := range []string{"a/", "a/1", "a/2", "b", "c/d/1", "c/d/2", "c/e", "z"} {
		b.put(bucket, key, key)
	}
	for _, c := range []struct{ prefix, want string }{
		{"", "b z | a/ c/"},
		{"a/", "a/ a/1 a/2 | "},
		{"c", " | c/"},
		{"c/", "c/e | c/d/"},
		{"nothing", " | "},
	} {
		for size := int32(1); size < 5; size++ {
			var keys, folders []string
			pages := s3.NewListObjectsV2Paginator(b.s3, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &c.prefix, Delimiter: aws.String("/"), MaxKeys: &size})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Contents {
					keys = append(keys, *o.Key)
				}
				for _, p := range page.CommonPrefixes {
					folders = append(folders, *p.Prefix)
				}
			}
			if got := strings.Join(keys, " ") + " | " + strings.Join(folders, " "); got != c.want {
				t.Errorf("prefix %q by %d: %q, want %q", c.prefix, size, got, c.want)
			}
		}
	}
	out, err := b.s3.ListObjects(ctx, &s3.ListObjectsInput{Bucket: &bucket, Marker: aws.String("c/d/2")})
	if err != nil || len(out.Contents) != 2 || *out.Contents[0].Key != "c/e" {
		t.Errorf("version 1 = %+v, %v", out, err)
	}
}
