package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// builder is an image.Builder that builds what the test says.
type builder struct {
	mu     sync.Mutex
	digest string
	fail   error
	gone   map[string]bool
	kept   []string // by the last Collect
}

func (b *builder) Build(context.Context, image.Source, func(image.Progress)) (image.Image, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return image.Image{Digest: b.digest, Env: []string{"A=image", "B=image"}}, b.fail
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

type bed struct {
	*Catalog
	builder  *builder
	sessions *session.Manager
	fake     *sandboxtest.Fake
}

func newBed(t *testing.T) *bed {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "isolde.db"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{builder: &builder{gone: make(map[string]bool)}, fake: &sandboxtest.Fake{}}
	b.sessions, err = session.Open(t.Context(), session.Config{Driver: b.fake, Store: store, LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b.Catalog, err = Open(Config{
		Store: store, Builder: b.builder, Sessions: b.sessions, TempDir: t.TempDir(),
		Locality: isolde.Locality{Region: "us-east-1", Account: "123456789012"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		b.sessions.Close()
		b.fake.StopAll()
		store.Close()
	})
	return b
}

// deploy deploys an image that the builder is told to build.
func (b *bed) deploy(t *testing.T, digest string, spec isolde.VersionSpec) Deployed {
	t.Helper()
	b.builder.mu.Lock()
	b.builder.digest = digest
	b.builder.mu.Unlock()
	d, err := b.Deploy(t.Context(), "agent", spec, emptyTar(), func(image.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func emptyTar() io.Reader { return bytes.NewReader(make([]byte, 1024)) }

func TestEachDeploymentThatChangesSomethingIsAVersion(t *testing.T) {
	b := newBed(t)
	for i, test := range []struct {
		digest           string
		env              string
		version          isolde.VersionNumber
		created, changed bool
	}{
		{"one", "x", 1, true, true},
		{"one", "x", 1, false, false},
		{"one", "y", 2, false, true},
		{"two", "y", 3, false, true},
		{"two", "y", 3, false, false},
	} {
		d := b.deploy(t, test.digest, isolde.VersionSpec{Environment: map[string]string{"E": test.env}})
		if d.Version.Number != test.version || d.Created != test.created || d.Changed != test.changed {
			t.Errorf("deployment %d = %+v", i, d)
		}
		got, err := b.Resolve(t.Context(), "agent", "") // the cache must not keep an older one
		if err != nil || got.Version.Number != test.version || got.Launch.Spec.Command[0] != test.digest {
			t.Errorf("after deployment %d the name resolves to %+v, %v", i, got, err)
		}
	}
}

func TestFailedDeploymentChangesNothing(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	b.builder.fail = isolde.Errorf(isolde.CodeInvalid, "no such package")
	if _, err := b.Deploy(ctx, "agent", isolde.VersionSpec{}, emptyTar(), nil); !errors.Is(err, b.builder.fail) {
		t.Errorf("deploy = %v", err)
	}
	if _, err := b.Resolve(ctx, "agent", ""); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("resolve = %v", err)
	}
	for name, spec := range map[string]isolde.VersionSpec{
		"bad-name": {},
		"agent":    {Lifecycle: isolde.Lifecycle{IdleTimeout: 5}},
	} {
		if _, err := b.Deploy(ctx, name, spec, emptyTar(), nil); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("deploy of %s %+v = %v", name, spec, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(b.cfg.TempDir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestResolve(t *testing.T) {
	b := newBed(t)
	d := b.deploy(t, "one", isolde.VersionSpec{Environment: map[string]string{"B": "own"}})
	for _, target := range []string{"agent", string(d.Runtime.ID)} {
		got, err := b.Resolve(t.Context(), target, isolde.DefaultEndpoint)
		if err != nil || got.Runtime.ID != d.Runtime.ID {
			t.Fatalf("resolve %q = %+v, %v", target, got, err)
		}
		want := []string{
			"A=image", "AWS_DEFAULT_REGION=us-east-1", "AWS_REGION=us-east-1", "B=own",
			"OTEL_RESOURCE_ATTRIBUTES=cloud.resource_id=arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/" + string(d.Runtime.ID), "PORT=8080",
		}
		if diff := cmp.Diff(want, got.Launch.Spec.Env); diff != "" {
			t.Errorf("environment (-want +got):\n%s", diff)
		}
	}
	if _, err := b.Resolve(t.Context(), "agent", "prod"); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("unknown endpoint = %v", err)
	}
	b.builder.gone["one"] = true
	b.forget(d.Runtime)
	if _, err := b.Resolve(t.Context(), "agent", ""); isolde.CodeOf(err) != isolde.CodeConflict {
		t.Errorf("resolve without an image = %v", err)
	}
}

func TestDeleteEndsSessions(t *testing.T) {
	b := newBed(t)
	d := b.deploy(t, "one", isolde.VersionSpec{})
	target, err := b.Resolve(t.Context(), "agent", "")
	if err != nil {
		t.Fatal(err)
	}
	key := isolde.SessionKey{Runtime: d.Runtime.ID, Session: "s"}
	lease, err := b.sessions.Acquire(t.Context(), key, target.Launch)
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	if _, err := b.Delete(t.Context(), "agent"); err != nil {
		t.Fatal(err)
	}
	if n := b.fake.Live(); n != 0 {
		t.Errorf("%d sandboxes live after the delete", n)
	}
	if _, err := b.Resolve(t.Context(), "agent", ""); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("resolve after the delete = %v", err)
	}
	if _, err := b.Delete(t.Context(), "agent"); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("second delete = %v", err)
	}
}

func TestImagesInUseAreKept(t *testing.T) {
	b := newBed(t)
	d := b.deploy(t, "image-1", isolde.VersionSpec{})
	target, err := b.Resolve(t.Context(), "agent", "")
	if err != nil {
		t.Fatal(err)
	}
	lease, err := b.sessions.Acquire(t.Context(), isolde.SessionKey{Runtime: d.Runtime.ID, Session: "s"}, target.Launch)
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	for n := 2; n <= 5; n++ {
		b.deploy(t, fmt.Sprintf("image-%d", n), isolde.VersionSpec{})
	}
	b.collects.Wait()
	// 1 has a session, 5 is DEFAULT's, 4 was a moment ago.
	if diff := cmp.Diff([]string{"image-1", "image-4", "image-5"}, b.builder.kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}
