package operator

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// builder is an image.Builder whose images are their references. One that
// begins with "bad" cannot be built, one that begins with "slow" is built once
// the test says so.
type builder struct {
	finish chan struct{}

	mu   sync.Mutex
	gone map[string]bool
}

func (b *builder) Build(context.Context, image.Source, func(image.Progress)) (image.Image, error) {
	return image.Image{Digest: "folder"}, nil
}

func (b *builder) Import(ctx context.Context, ref string, progress func(image.Progress)) (image.Image, error) {
	progress(image.Progress{Stage: "artifact", Message: "pulling " + ref})
	switch ref[:3] {
	case "bad":
		return image.Image{}, isolde.Errorf(isolde.CodeInvalid, "%s is no image", ref).WithHint("name another")
	case "slo":
		select {
		case <-b.finish:
		case <-ctx.Done():
			return image.Image{}, context.Cause(ctx)
		}
	}
	progress(image.Progress{Stage: "image", Message: "built " + ref})
	return image.Image{Digest: ref}, nil
}

func (b *builder) Open(_ context.Context, digest string) (image.Image, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone[digest] {
		return image.Image{}, isolde.Errorf(isolde.CodeNotFound, "no image %s", digest)
	}
	return image.Image{Digest: digest}, nil
}

func (b *builder) Collect(context.Context, []string) (int64, error) { return 0, nil }

// noObjects is an object store without objects.
type noObjects struct{}

func (noObjects) Fetch(_ context.Context, from isolde.S3Location, _ int64, _ io.Writer) (int64, error) {
	return 0, isolde.Errorf(isolde.CodeInvalid, "there is no %s", from)
}

// bed is a handler behind a real server and a real store, with a client.
type bed struct {
	*Client
	handler  *Handler
	catalog  *catalog.Catalog
	sessions *session.Manager
	builder  *builder
	fake     *sandboxtest.Fake
	url      string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "isolde.db"))
	if err != nil {
		t.Fatal(err)
	}
	fake := &sandboxtest.Fake{}
	b := &bed{fake: fake, builder: &builder{finish: make(chan struct{}), gone: map[string]bool{}}}
	b.sessions, err = session.Open(t.Context(), session.Config{Driver: fake, Store: store, LogDir: t.TempDir(), StorageDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	locality := isolde.Locality{Region: "us-east-1", Account: "123456789012"}
	log := slog.New(slog.DiscardHandler)
	b.catalog, err = catalog.Open(t.Context(), catalog.Config{
		Store: store, Builder: b.builder, Objects: noObjects{}, Sessions: b.sessions, Locality: locality,
		TempDir: t.TempDir(), Logger: log, Driver: fake.Capabilities(),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.handler = &Handler{
		Catalog: b.catalog, Sessions: b.sessions, Store: store, Locality: locality, Info: Info{S3: S3Embedded}, Logger: log,
		Backup: func(_ context.Context, w io.Writer, _ bool) error {
			_, err := io.WriteString(w, "a tar")
			return err
		},
	}
	mux := http.NewServeMux()
	b.handler.Register(mux)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r)
		_, _ = io.Copy(io.Discard, r.Body) // as the real server does
	}))
	b.url = server.URL
	b.Client = &Client{URL: server.URL, HTTP: &http.Client{Transport: newContract(t, server.Client().Transport)}}
	t.Cleanup(func() {
		server.Close()
		b.catalog.Close()
		b.sessions.Close()
		fake.StopAll()
		store.Close()
	})
	return b
}

func imageSpec(ref string) isolde.VersionSpec {
	return isolde.VersionSpec{Artifact: &isolde.Artifact{Container: &isolde.ContainerArtifact{URI: ref}}}
}

// deploy deploys an image, which must succeed.
func (b *bed) deploy(t *testing.T, name, ref string) Deployed {
	t.Helper()
	d, err := b.Deploy(t.Context(), Deployment{Name: name, Spec: imageSpec(ref)}, "", nil)
	if err != nil {
		t.Fatalf("deploy %s of %s: %v", ref, name, err)
	}
	return d
}

// create begins to create an agent, as the AgentCore API does.
func (b *bed) create(t *testing.T, name, ref string) isolde.RuntimeID {
	t.Helper()
	change, err := b.catalog.Create(t.Context(), "", name, imageSpec(ref), nil)
	if err != nil {
		t.Fatal(err)
	}
	return change.Runtime.ID
}

func wantCode(t *testing.T, what string, err error, want isolde.Code) {
	t.Helper()
	if isolde.CodeOf(err) != want {
		t.Errorf("%s: %v, want an error with code %s", what, err, want)
	}
}
