package catalog

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// builder is an image.Builder that builds what the test says. Container
// images have the digest that is their reference.
type builder struct {
	mu     sync.Mutex
	digest string
	fail   error
	hold   chan struct{} // if not nil, builds wait for it
	gone   map[string]bool
	kept   []string       // by the last Collect
	source []image.Source // that were built
	files  []string       // in the last source
	begun  int
}

func (b *builder) Build(ctx context.Context, src image.Source, progress func(image.Progress)) (image.Image, error) {
	b.mu.Lock()
	digest := b.digest
	b.source = append(b.source, src)
	b.files, _ = filepath.Glob(filepath.Join(src.Dir, "*"))
	b.mu.Unlock()
	return b.make(ctx, digest, progress)
}

func (b *builder) Import(ctx context.Context, ref string, progress func(image.Progress)) (image.Image, error) {
	return b.make(ctx, ref, progress)
}

func (b *builder) make(ctx context.Context, digest string, progress func(image.Progress)) (image.Image, error) {
	b.mu.Lock()
	b.begun++
	hold, fail := b.hold, b.fail
	b.mu.Unlock()
	if progress != nil {
		progress(image.Progress{Stage: "image", Message: "making " + digest})
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return image.Image{}, ctx.Err()
		}
	}
	return image.Image{Digest: digest, Env: []string{"A=image", "B=image"}}, fail
}

func (b *builder) Open(_ context.Context, digest string) (image.Image, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone[digest] {
		return image.Image{}, isolde.Errorf(isolde.CodeNotFound, "no image %s", digest)
	}
	return image.Image{Digest: digest, Env: []string{"A=image", "B=image"}, Command: []string{digest}}, nil
}

func (b *builder) Collect(_ context.Context, keep []string) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = slices.Sorted(slices.Values(keep))
	return 0, nil
}

// set changes what builds do from now on.
func (b *builder) set(hold chan struct{}, fail error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold, b.fail = hold, fail
}

// objects holds one archive under each key.
type objects struct{}

func (objects) Fetch(_ context.Context, from isolde.S3Location, limit int64, w io.Writer) (int64, error) {
	if from.Key == "missing.zip" {
		return 0, isolde.Errorf(isolde.CodeNotFound, "no object %s", from)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("agent.py")
	if err != nil {
		return 0, err
	}
	io.WriteString(f, "print()") //nolint:errcheck // to memory
	if err := z.Close(); err != nil {
		return 0, err
	}
	return io.Copy(w, io.LimitReader(&b, limit))
}

type bed struct {
	*Catalog
	cfg      Config
	builder  *builder
	sessions *session.Manager
	storage  string // where sessions keep files
	fake     *sandboxtest.Fake
}

func newBed(t *testing.T) *bed {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "isolde.db"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{builder: &builder{gone: make(map[string]bool)}, fake: &sandboxtest.Fake{}, storage: t.TempDir()}
	b.sessions, err = session.Open(t.Context(), session.Config{Driver: b.fake, Store: store, LogDir: t.TempDir(), StorageDir: b.storage})
	if err != nil {
		t.Fatal(err)
	}
	b.cfg = Config{
		Store: store, Builder: b.builder, Objects: objects{}, Sessions: b.sessions, TempDir: t.TempDir(), KeepVersions: 2,
		Driver: sandbox.Capabilities{OwnRoot: true}, Logger: slog.New(slog.DiscardHandler),
		Locality: isolde.Locality{Region: "us-east-1", Account: "123456789012"},
	}
	b.open(t)
	t.Cleanup(func() {
		b.Close()
		b.sessions.Close()
		b.fake.StopAll()
		store.Close()
	})
	return b
}

// open opens a catalog, another one after Close.
func (b *bed) open(t *testing.T) {
	t.Helper()
	var err error
	if b.Catalog, err = Open(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
}

// container is a spec of a container image.
func container(uri string) isolde.VersionSpec {
	return isolde.VersionSpec{
		Artifact: &isolde.Artifact{Container: &isolde.ContainerArtifact{URI: uri}},
		Role:     "arn:aws:iam::123456789012:role/agent",
	}
}

// settle waits until nothing is under way on a runtime, and returns it.
func (b *bed) settle(t *testing.T, id isolde.RuntimeID) isolde.AgentRuntime {
	t.Helper()
	for _, j := range []job{{runtime: id}, {runtime: id, endpoints: true}} {
		b.jobs.mu.Lock()
		r := b.jobs.running[j]
		b.jobs.mu.Unlock()
		if r == nil {
			continue
		}
		if err := r.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := b.cfg.Store.Runtime(t.Context(), string(id))
	if err != nil && isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Fatal(err)
	}
	return r
}

// create makes an agent runtime of a container image that is READY.
func (b *bed) create(t *testing.T, uri string) isolde.RuntimeID {
	t.Helper()
	c, err := b.Create(t.Context(), "", "agent", container(uri), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := b.settle(t, c.Runtime.ID); r.Status != isolde.StatusReady {
		t.Fatalf("runtime = %+v", r)
	}
	return c.Runtime.ID
}

// update makes the next version, READY or not.
func (b *bed) update(t *testing.T, id isolde.RuntimeID, uri string) isolde.AgentRuntime {
	t.Helper()
	if _, err := b.Update(t.Context(), "", id, container(uri)); err != nil {
		t.Fatal(err)
	}
	return b.settle(t, id)
}

// serves is the image that an endpoint's sessions start from.
func (b *bed) serves(t *testing.T, id isolde.RuntimeID, e isolde.EndpointName) string {
	t.Helper()
	target, err := b.Resolve(t.Context(), string(id), e)
	if err != nil {
		return string(isolde.CodeOf(err))
	}
	return target.Launch.Spec.Command[0]
}

// startSession starts a session of what the endpoint serves.
func (b *bed) startSession(t *testing.T, id isolde.RuntimeID, session isolde.SessionID) {
	t.Helper()
	target, err := b.Resolve(t.Context(), string(id), "")
	if err != nil {
		t.Fatal(err)
	}
	lease, err := b.sessions.Acquire(t.Context(), isolde.SessionKey{Runtime: id, Session: session}, target.Launch)
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
}
