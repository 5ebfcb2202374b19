package objects

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestSettings(t *testing.T) {
	b := newBed(t, 0)
	ctx, bucket := t.Context(), aws.String(b.bucket("settings"))
	get := func() (*s3.GetPublicAccessBlockOutput, error) {
		return b.s3.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: bucket})
	}
	if _, err := get(); codeOf(err) != "NoSuchPublicAccessBlockConfiguration" {
		t.Errorf("before: %v", err)
	}
	_, err := b.s3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
		BlockPublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
	}})
	if err != nil {
		t.Fatal(err)
	}
	const policy = `{"Version":"2012-10-17","Statement":[]}`
	if _, err := b.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(policy)}); err != nil {
		t.Fatal(err)
	}
	_, err = b.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: bucket, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("team"), Value: aws.String("agents")}}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
		Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAes256}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.s3.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: bucket, OwnershipControls: &types.OwnershipControls{
		Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.s3.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{
		Rules: []types.LifecycleRule{{ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if out, err := get(); err != nil || !*out.PublicAccessBlockConfiguration.BlockPublicAcls || out.PublicAccessBlockConfiguration.BlockPublicPolicy != nil {
		t.Errorf("public access block = %+v, %v", out, err)
	}
	if out, err := b.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket}); err != nil || *out.Policy != policy {
		t.Errorf("policy = %+v, %v", out, err)
	}
	if out, err := b.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: bucket}); err != nil || *out.TagSet[0].Value != "agents" {
		t.Errorf("tags = %+v, %v", out, err)
	}
	if out, err := b.s3.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: bucket}); err != nil || len(out.ServerSideEncryptionConfiguration.Rules) != 1 {
		t.Errorf("encryption = %+v, %v", out, err)
	}
	if _, err := b.s3.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket}); err != nil {
		t.Error(err)
	}
	if _, err := get(); codeOf(err) != "NoSuchPublicAccessBlockConfiguration" {
		t.Errorf("after: %v", err)
	}
	if _, err := b.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String("{")}); codeOf(err) != "MalformedPolicy" {
		t.Errorf("policy {: %v", err)
	}
	if got := b.send(http.MethodPut, "/settings?tagging", "<Tagging>", nil); !strings.Contains(got, "MalformedXML") {
		t.Errorf("half XML: %s", got)
	}
	if got := b.send(http.MethodPut, "/none?tagging", "<Tagging/>", nil); !strings.Contains(got, "NoSuchBucket") {
		t.Errorf("settings of no bucket: %s", got)
	}
}

// TestRefusals sends what would hurt if it were taken for something else.
func TestRefusals(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("refusals")
	b.put(bucket, "k", "text")
	for _, c := range []struct{ method, path, want string }{
		{"PUT", "/refusals/k?acl", "501"}, // must not become the object's text
		{"PUT", "/refusals/k?retention", "501"},
		{"GET", "/refusals/k?attributes", "501"},
		{"PUT", "/refusals?website", "501"},
		{"PUT", "/refusals/k?tagging&acl", "400"},
		{"PUT", "/refusals/k?versioning", "501"},
		{"POST", "/refusals", "501"}, // a form of a web page
		{"POST", "/refusals/k?select&select-type=2", "400"},
		{"PATCH", "/refusals/k", "501"},
		{"OPTIONS", "/refusals/k", "501"},
		{"PUT", "/", "501"},
		{"DELETE", "/", "501"},
		{"GET", "/refusals?list-type=2&continuation-token=%00", "400"},
		{"GET", "/refusals?max-keys=many", "400"},
		{"PUT", "/refusals/%FF", "400"},
	} {
		got := b.send(c.method, c.path, "evil", nil)
		if !strings.HasPrefix(got, c.want) || !strings.Contains(got, "<Code>") {
			t.Errorf("%s %s: %s", c.method, c.path, got)
		}
	}
	if got := b.send(http.MethodDelete, "/refusals", "", map[string]string{"X-Minio-Force-Delete": "true"}); !strings.Contains(got, "BucketNotEmpty") {
		t.Errorf("forced deletion: %s", got)
	}
	if text, err := b.get(bucket, "k", ""); text != "text" {
		t.Errorf("object = %q, %v", text, err)
	}
}

// TestAddresses reaches objects under host names and by presigned URLs.
func TestAddresses(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("addresses")
	b.put(bucket, "dir/k", "text")
	for host, path := range map[string]string{
		"addresses.localhost": "/dir/k", "addresses.localhost:4765": "/dir/k", "addresses.s3.localhost": "/dir/k",
		"s3.localhost": "/addresses/dir/k", "localhost": "/addresses/dir/k",
	} {
		if got := b.send(http.MethodGet, path, "", map[string]string{"Host": host}); got != "200 OK text" {
			t.Errorf("%s%s: %s", host, path, got)
		}
	}
	signer := s3.NewPresignClient(b.s3)
	put, err := signer.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("signed")}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.send(http.MethodPut, strings.TrimPrefix(put.URL, b.url), "<script>", map[string]string{"Content-Type": "text/html"}); !strings.HasPrefix(got, "200") {
		t.Errorf("presigned put: %s", got)
	}
	get, err := signer.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("signed"), ResponseContentDisposition: aws.String("inline")})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(get.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Disposition") != "inline" || resp.Header.Get("Content-Security-Policy") != "sandbox" {
		t.Errorf("presigned get: %s %v", resp.Status, resp.Header)
	}
}
