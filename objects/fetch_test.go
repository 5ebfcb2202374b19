package objects

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/isolde-run/isolde"
)

// TestFetch asks the store itself, and the same store as if it were another's.
func TestFetch(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("agentcore-code")
	b.bucket("other")
	if _, err := b.s3.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	old := *b.put(bucket, "my_agent/code.zip", "old").VersionId
	b.put(bucket, "my_agent/code.zip", "0123456789")
	b.put(bucket, "z", "")
	gone := "gone"
	b.put(bucket, gone, "")
	if _, err := b.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &gone}); err != nil {
		t.Fatal(err)
	}
	remote := b.dial(b.url)
	for name, fetch := range map[string]func(context.Context, isolde.S3Location, int64, *bytes.Buffer) (int64, error){
		"store": func(ctx context.Context, l isolde.S3Location, n int64, w *bytes.Buffer) (int64, error) {
			return b.store.Fetch(ctx, l, n, w)
		},
		"remote": func(ctx context.Context, l isolde.S3Location, n int64, w *bytes.Buffer) (int64, error) {
			return remote.Fetch(ctx, l, n, w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				loc  isolde.S3Location
				want string // the text, or what the error says
				code isolde.Code
			}{
				{isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip"}, "0123456789", ""},
				{isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip", VersionID: old}, "old", ""},
				{isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip", VersionID: "none"}, old, isolde.CodeInvalid},
				{isolde.S3Location{Bucket: bucket, Key: "my-agent/code.zip"}, "there is my_agent/code.zip, z", isolde.CodeInvalid},
				{isolde.S3Location{Bucket: bucket, Key: gone}, `no object with key "gone"`, isolde.CodeInvalid},
				{isolde.S3Location{Bucket: "agentcore-cod", Key: "k"}, "there is agentcore-code, other", isolde.CodeInvalid},
			} {
				var got bytes.Buffer
				n, err := fetch(t.Context(), c.loc, 10, &got)
				if c.code == "" && (err != nil || got.String() != c.want || n != int64(got.Len())) {
					t.Errorf("%+v = %q, %v", c.loc, got.String(), err)
				}
				if c.code != "" && (isolde.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) || got.Len() > 0) {
					t.Errorf("%+v = %q, %v; want %s", c.loc, got.String(), err, c.want)
				}
			}
			var got bytes.Buffer
			_, err := fetch(t.Context(), isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip"}, 9, &got)
			if isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), "10 bytes; 9 are allowed") || got.Len() > 0 {
				t.Errorf("too large: %q, %v", got.String(), err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			enough := errors.New("enough")
			cancel(enough)
			if _, err := fetch(ctx, isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip"}, 10, &got); !errors.Is(err, enough) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
	if _, err := b.store.Fetch(t.Context(), isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip"}, 10, brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("writer's error: %v", err)
	}
	if _, err := remote.Fetch(t.Context(), isolde.S3Location{Bucket: bucket, Key: "my_agent/code.zip"}, 10, brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("writer's error: %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func (b *bed) dial(endpoint string) *Remote {
	b.Helper()
	b.Setenv("AWS_ACCESS_KEY_ID", "any")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	r, err := Dial(RemoteConfig{Endpoint: endpoint, Region: "us-east-1"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	return r
}

func TestRemoteFailures(t *testing.T) {
	b := &bed{T: t}
	loc := isolde.S3Location{Bucket: "bucket", Key: "k"}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	_, err = b.dial("http://"+closed.Addr().String()).Fetch(t.Context(), loc, 10, &bytes.Buffer{})
	if isolde.CodeOf(err) != isolde.CodeUnavailable || !strings.Contains(err.Error(), closed.Addr().String()+" cannot be reached") {
		t.Errorf("closed port: %v", err)
	}
	for name, c := range map[string]struct {
		status int
		body   string
		code   isolde.Code
		want   string
	}{
		"denied":  {403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>", isolde.CodeDenied, "AccessDenied"},
		"no S3":   {404, "<html>not found</html>", isolde.CodeInvalid, ""},
		"trouble": {400, "<Error><Code>Odd</Code><Message>strange</Message></Error>", isolde.CodeUnavailable, "400 Odd: strange"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(c.status)
			w.Write([]byte(c.body)) //nolint:errcheck // the client is gone then
		}))
		_, err := b.dial(server.URL).Fetch(t.Context(), loc, 10, &bytes.Buffer{})
		if isolde.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
	for _, endpoint := range []string{"", "minio:9000", "ftp://host", "http://host/path", "http://u:p@host", "http://host?x"} {
		if _, err := Dial(RemoteConfig{Endpoint: endpoint}); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("dial %q: %v", endpoint, err)
		}
	}
}
