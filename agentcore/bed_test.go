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
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/gate"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/auth/sigv4"
	"github.com/isolde-run/isolde/auth/spool"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/gateway"
	"github.com/isolde-run/isolde/http1"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

func TestMain(m *testing.M) {
	// Go's SDK never ends this one of an event stream.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/aws/aws-sdk-go-v2/service/bedrockagentcore.newAsyncEventStreamReader.func1"))
}

// builder stands in for image/: the fake driver needs no root. Every image has
// the same digest.
type builder struct {
	mu   sync.Mutex
	make func(context.Context) error
}

const digest = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// set says how builds end from now on; nil: well, at once.
func (b *builder) set(make func(context.Context) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.make = make
}

// block makes builds wait until the test calls what it returns.
func (b *builder) block() (release func()) {
	hold := make(chan struct{})
	b.set(func(ctx context.Context) error {
		select {
		case <-hold:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return sync.OnceFunc(func() { b.set(nil); close(hold) })
}

func (b *builder) image(ctx context.Context) (image.Image, error) {
	b.mu.Lock()
	make := b.make
	b.mu.Unlock()
	if make != nil {
		if err := make(ctx); err != nil {
			return image.Image{}, err
		}
	}
	return image.Image{Digest: digest}, nil
}

func (b *builder) Build(ctx context.Context, _ image.Source, _ func(image.Progress)) (image.Image, error) {
	return b.image(ctx)
}

func (b *builder) Import(ctx context.Context, _ string, _ func(image.Progress)) (image.Image, error) {
	return b.image(ctx)
}

func (b *builder) Open(context.Context, string) (image.Image, error)        { return image.Image{}, nil }
func (b *builder) Collect(context.Context, []string) (freed int64, _ error) { return 0, nil }

// noObjects is an object store without any.
type noObjects struct{}

func (noObjects) Fetch(_ context.Context, from isolde.S3Location, _ int64, _ io.Writer) (int64, error) {
	return 0, isolde.Errorf(isolde.CodeInvalid, "no object %s", from)
}

// bed is both planes over a fake driver, and the clients of AWS's own SDK.
type bed struct {
	url      string
	arn      string // of the agent runtime "echo", which is deployed from a folder
	locality isolde.Locality
	fake     *sandboxtest.Fake
	builder  *builder
	store    *sqlite.Store
	agents   *catalog.Catalog
	sessions *session.Manager
	log      *slog.Logger
	answers  *recorder
	data     *bedrockagentcore.Client
	control  *bedrockagentcorecontrol.Client

	exposeErrors bool
	noDefaults   bool        // of servers from the next serve on, as are
	keys         []*auth.Key // that it asks for, and
	binding      agentcore.Binding
}

func newBed(t *testing.T, agent http.Handler, configure ...func(*session.Config)) *bed {
	t.Helper()
	b := &bed{
		locality: isolde.Locality{Region: "us-west-2", Account: "123456789012"},
		fake:     &sandboxtest.Fake{}, builder: &builder{}, answers: &recorder{}, log: slog.New(slog.DiscardHandler),
	}
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return sandboxtest.Script{Agent: agent} }
	var err error
	if b.store, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "isolde.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.store.Close() })
	cfg := session.Config{Driver: b.fake, Store: b.store, LogDir: t.TempDir()}
	for _, f := range configure {
		f(&cfg)
	}
	b.sessions, err = session.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.sessions.Close()
		b.fake.StopAll()
	})
	b.agents, err = catalog.Open(t.Context(), catalog.Config{
		Store: b.store, Builder: b.builder, Objects: noObjects{}, Sessions: b.sessions, Driver: b.fake.Capabilities(),
		Locality: b.locality, TempDir: t.TempDir(), Logger: b.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.agents.Close() })
	b.serve(t)
	d, err := b.agents.Deploy(t.Context(), "echo", isolde.VersionSpec{Entrypoint: []string{"agent"}}, bytes.NewReader(make([]byte, 1024)), func(image.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	b.arn = b.locality.RuntimeARN(d.Runtime.ID)
	return b
}

// serve starts a server and its clients; the next one's know nothing of it.
func (b *bed) serve(t *testing.T) {
	tokens := jwt.NewVerifier(b.log)
	t.Cleanup(func() { tokens.Close() })
	mux := http.NewServeMux()
	api := &agentcore.Handler{
		Gateway: &gateway.Gateway{Catalog: b.agents, Sessions: b.sessions, Logger: b.log, ExposeAgentErrors: b.exposeErrors},
		Catalog: b.agents, Sessions: b.sessions, Store: b.store, Locality: b.locality, Tokens: tokens, Logger: b.log, NoContentDefaults: b.noDefaults,
		Binding: b.binding,
	}
	if b.keys != nil {
		keys, err := auth.NewKeys(b.keys...)
		if err != nil {
			t.Fatal(err)
		}
		api.Gate = &gate.Gate{
			Verifier: &sigv4.Verifier{Keys: keys, Service: "bedrock-agentcore", Region: b.locality.Region},
			Spool:    spool.New(64<<20, 0, ""), Shares: gate.NewShares(64 << 20),
		}
	}
	api.Register(mux)
	b.listen(t, b.answers.of(api.Front(agentcore.Strict(mux))))
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
}

// do sends a plain HTTP request, without what an SDK would add, and reads the answer.
func (b *bed) do(t *testing.T, method, path string, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return roundTrip(t, req)
}

func roundTrip(t *testing.T, req *http.Request) answer {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return a
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// listen serves as package server does.
func (b *bed) listen(t *testing.T, h http.Handler) {
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
