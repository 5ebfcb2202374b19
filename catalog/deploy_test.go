package catalog

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
)

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
