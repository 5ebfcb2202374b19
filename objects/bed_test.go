package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a store that is served on loopback, with AWS's client for it.
type bed struct {
	*testing.T
	dir   string
	store *Store
	url   string
	s3    *s3.Client
}

func newBed(t *testing.T, quota int64) *bed {
	t.Helper()
	b := &bed{T: t, dir: t.TempDir()}
	b.store = b.open(quota)
	// The store is looked up by each request, so that a test can reopen it.
	// It reads what is left of a body, as the real server does.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.store.Handler().ServeHTTP(w, r)
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the client is gone then
	}))
	b.url = server.URL
	t.Cleanup(server.Close)
	b.s3 = b.client("us-east-1")
	return b
}

func (b *bed) open(quota int64) *Store {
	b.Helper()
	s, err := Open(Config{Dir: filepath.Join(b.dir, "objects"), Quota: quota})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// reopen is what a restart of the server does, without the Close.
func (b *bed) reopen() {
	b.Helper()
	b.store = b.open(b.store.quota)
}

func (b *bed) client(region string) *s3.Client {
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	return s3.New(s3.Options{
		Region: region, BaseEndpoint: aws.String(b.url), UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
		}),
	})
}

func (b *bed) bucket(name string) string {
	b.Helper()
	if _, err := b.s3.CreateBucket(b.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		b.Fatal(err)
	}
	return name
}

func (b *bed) put(bucket, key, text string) *s3.PutObjectOutput {
	b.Helper()
	out, err := b.s3.PutObject(b.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte(text))})
	if err != nil {
		b.Fatalf("put %q: %v", key, err)
	}
	return out
}

func (b *bed) get(bucket, key, version string) (string, error) {
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if version != "" {
		in.VersionId = &version
	}
	out, err := b.s3.GetObject(b.Context(), in)
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	return string(text), err
}

// files are the files of the store below a folder, without the buckets' records.
func (b *bed) files(sub string) (names []string) {
	b.Helper()
	err := filepath.WalkDir(filepath.Join(b.dir, "objects", sub), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "bucket.json" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return names
}

// codeOf is the code of an answer that is an error.
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}
