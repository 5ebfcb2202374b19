package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/isolde-run/isolde"
)

// RemoteConfig says where a store that speaks the S3 API is.
type RemoteConfig struct {
	// Endpoint is its URL without a path, such as https://s3.us-east-1.amazonaws.com
	// or http://minio:9000.
	Endpoint string
	// Region is what requests are signed for; empty asks the store for each
	// bucket's.
	Region string
}

// Remote reads objects of S3 or a store that speaks its API. Credentials are
// those that AWS's tools use on this machine: AWS_ACCESS_KEY_ID and its kind,
// the profile AWS_PROFILE in ~/.aws/credentials, or the role of the instance;
// without any, requests are not signed. Safe for concurrent use.
type Remote struct {
	endpoint  string
	client    *minio.Client
	transport *http.Transport
}

// Dial prepares a Remote; it reaches nothing yet. An endpoint that is no URL
// is CodeInvalid.
func Dial(cfg RemoteConfig) (*Remote, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		return nil, isolde.Errorf(isolde.CodeInvalid, "S3 endpoint %q is not a URL of scheme and host", cfg.Endpoint).
			WithHint("for example https://s3.us-east-1.amazonaws.com or http://minio:9000")
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("dial S3 endpoint: %w", err)
	}
	transport.DisableCompression = true
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	client, err := minio.New(u.Host, &minio.Options{
		Secure: u.Scheme == "https", Region: cfg.Region, Transport: transport, MaxRetries: 3,
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: metadataTimeout}},
		}),
	})
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "S3 endpoint %q cannot be used: %w", cfg.Endpoint, err)
	}
	client.SetAppInfo("isolde", "1")
	return &Remote{endpoint: cfg.Endpoint, client: client, transport: transport}, nil
}

// Close drops idle connections.
func (r *Remote) Close() { r.transport.CloseIdleConnections() }

const (
	dialTimeout     = 10 * time.Second
	metadataTimeout = 2 * time.Second // of the instance's role: most machines are no instances
)

// Fetch is as [Store.Fetch]. CodeDenied says that the credentials may not read
// the object, CodeUnavailable that the endpoint cannot be reached.
func (r *Remote) Fetch(ctx context.Context, loc isolde.S3Location, limit int64, w io.Writer) (n int64, err error) {
	body, info, _, err := minio.Core{Client: r.client}.GetObject(ctx, loc.Bucket, loc.Key, minio.GetObjectOptions{VersionID: loc.VersionID})
	if err != nil {
		return 0, r.explain(ctx, loc, err)
	}
	defer body.Close()
	if info.Size > limit {
		return 0, tooLarge(loc, info.Size, limit)
	}
	source := &source{r: body}
	n, err = io.Copy(w, source)
	if source.err != nil {
		return n, r.explain(ctx, loc, source.err)
	}
	return n, err
}

// source tells the errors of reading from those of writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain turns an error of the client into one for people.
func (r *Remote) explain(ctx context.Context, loc isolde.S3Location, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.Code == minio.NoSuchBucket:
		return noBucketAt(loc, r.endpoint, r.buckets(ctx)).WithCause(err)
	case answer.Code == minio.NoSuchKey && loc.VersionID == "":
		return noKey(loc, r.keys(ctx, loc))
	case answer.Code == minio.NoSuchKey, answer.Code == "NoSuchVersion", answer.Code == "InvalidArgument" && loc.VersionID != "",
		answer.StatusCode == http.StatusMethodNotAllowed:
		return noVersion(loc, r.versions(ctx, loc))
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return isolde.Errorf(isolde.CodeDenied, "%s: %s refuses the server's credentials: %s", loc, r.endpoint, answer.Code).
			WithHint("give the server AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, that may s3:GetObject and s3:ListBucket").WithCause(err)
	case answer.StatusCode == 0:
		return isolde.Errorf(isolde.CodeUnavailable, "%s: %s cannot be reached: %v", loc, r.endpoint, rootCause(err)).
			WithHint("check the server's S3 endpoint and its network").WithCause(err)
	}
	return isolde.Errorf(isolde.CodeUnavailable, "%s: %s answered %d %s: %s", loc, r.endpoint, answer.StatusCode, answer.Code, answer.Message).WithCause(err)
}

func noBucketAt(loc isolde.S3Location, endpoint string, names []string) *isolde.Error {
	err := isolde.Errorf(isolde.CodeInvalid, "there is no bucket %q at %s", loc.Bucket, endpoint)
	if len(names) == 0 {
		return err.WithHint("check the bucket's name and the server's S3 endpoint")
	}
	return err.WithHint("there is %s", list(nearest(loc.Bucket, names)))
}

// rootCause is what a network error is about, without the request's URL.
func rootCause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// What there is, for messages; nothing where the credentials may not list it.

func (r *Remote) buckets(ctx context.Context) (names []string) {
	all, err := r.client.ListBuckets(ctx)
	if err != nil {
		return nil
	}
	for _, b := range all {
		names = append(names, b.Name)
	}
	return names
}

// maxListed bounds how much is listed for a message.
const maxListed = 1000

func (r *Remote) keys(ctx context.Context, loc isolde.S3Location) (keys []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing that is cut
	for o := range r.client.ListObjectsIter(ctx, loc.Bucket, minio.ListObjectsOptions{Recursive: true, MaxKeys: maxListed}) {
		if o.Err != nil || len(keys) == maxListed {
			break
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func (r *Remote) versions(ctx context.Context, loc isolde.S3Location) (ids []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range r.client.ListObjectsIter(ctx, loc.Bucket, minio.ListObjectsOptions{Prefix: loc.Key, Recursive: true, WithVersions: true, MaxKeys: maxListed}) {
		if o.Err != nil || len(ids) == maxNearest {
			break
		}
		if o.Key == loc.Key && !o.IsDeleteMarker {
			ids = append(ids, o.VersionID)
		}
	}
	return ids
}
