package agentcore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/gateway"
	"github.com/isolde-run/isolde/http1"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noBuilder stands in for image/: the fake driver needs no root.
type noBuilder struct{}

func (noBuilder) Build(context.Context, image.Source, func(image.Progress)) (image.Image, error) {
	return image.Image{Digest: "sha256:0"}, nil
}

func (noBuilder) Open(context.Context, string) (image.Image, error)        { return image.Image{}, nil }
func (noBuilder) Collect(context.Context, []string) (freed int64, _ error) { return 0, nil }

// bed is both planes over a fake driver, and the clients of AWS's own SDK.
type bed struct {
	url      string
	arn      string
	locality isolde.Locality
	fake     *sandboxtest.Fake
	sessions *session.Manager
	data     *bedrockagentcore.Client
	control  *bedrockagentcorecontrol.Client
}

func newBed(t *testing.T, agent http.Handler) *bed {
	t.Helper()
	b := &bed{locality: isolde.Locality{Region: "us-west-2", Account: "123456789012"}, fake: &sandboxtest.Fake{}}
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return sandboxtest.Script{Agent: agent} }
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "isolde.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b.sessions, err = session.Open(t.Context(), session.Config{Driver: b.fake, Store: store, LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.sessions.Close()
		b.fake.StopAll()
	})
	log := slog.New(slog.DiscardHandler)
	agents, err := catalog.Open(catalog.Config{
		Store: store, Builder: noBuilder{}, Sessions: b.sessions, Locality: b.locality, TempDir: t.TempDir(), Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agents.Close() })
	mux := http.NewServeMux()
	api := &agentcore.Handler{
		Gateway: &gateway.Gateway{Catalog: agents, Sessions: b.sessions, Logger: log},
		Catalog: agents, Sessions: b.sessions, Store: store, Locality: b.locality,
	}
	api.Register(mux)
	b.serve(t, api.Front(mux))

	d, err := agents.Deploy(t.Context(), "echo", isolde.VersionSpec{Entrypoint: []string{"agent"}}, bytes.NewReader(make([]byte, 1024)), func(image.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	b.arn = b.locality.RuntimeARN(d.Runtime.ID)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
	})
	b.data = bedrockagentcore.New(bedrockagentcore.Options{
		Region: "us-west-2", BaseEndpoint: aws.String(b.url), HTTPClient: client, Credentials: credentials,
	})
	b.control = bedrockagentcorecontrol.New(bedrockagentcorecontrol.Options{
		Region: "us-west-2", BaseEndpoint: aws.String(b.url), HTTPClient: client, Credentials: credentials,
	})
	return b
}

// serve serves as package server does.
func (b *bed) serve(t *testing.T, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http1.Server{
		HTTP:  &http.Server{Handler: h, ReadHeaderTimeout: time.Minute},
		Plain: func(_, target string) bool { return strings.HasPrefix(target, "/runtimes/") },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	b.url = "http://" + l.Addr().String()
}

// post sends a plain HTTP request to the data plane.
func (b *bed) post(t *testing.T, path string, header http.Header, body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
