package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// wantCode fails unless err has the code.
func wantCode(t *testing.T, what string, err error, code isolde.Code) {
	t.Helper()
	if isolde.CodeOf(err) != code {
		t.Errorf("%s = %v, want code %q", what, err, code)
	}
}

func TestCreatingBuilds(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	hold := make(chan struct{})
	b.builder.set(hold, nil)
	c, err := b.Create(ctx, "", "agent", container("one"), map[string]string{"team": "a"})
	if err != nil || c.Runtime.Status != isolde.StatusCreating || c.Version.Number != 1 {
		t.Fatalf("create = %+v, %v", c, err)
	}
	id := c.Runtime.ID
	_, err = b.Create(ctx, "", "agent", container("one"), nil)
	wantCode(t, "second create", err, isolde.CodeConflict)
	_, err = b.Update(ctx, "", id, container("two"))
	wantCode(t, "update while CREATING", err, isolde.CodeConflict)
	_, err = b.Delete(ctx, "", id)
	wantCode(t, "delete while CREATING", err, isolde.CodeConflict)
	_, err = b.Resolve(ctx, "agent", "")
	wantCode(t, "resolve while CREATING", err, isolde.CodeConflict)
	_, err = b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "prod"}, nil)
	wantCode(t, "endpoint while CREATING", err, isolde.CodeConflict)
	close(hold)
	var steps []string
	for p := range b.Watch(ctx, id) {
		steps = append(steps, p.Message)
	}
	if diff := cmp.Diff([]string{"making one"}, steps); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if r := b.settle(t, id); r.Status != isolde.StatusReady {
		t.Errorf("runtime = %+v", r)
	}
	if got := b.serves(t, id, ""); got != "one" {
		t.Errorf("DEFAULT serves %q", got)
	}
	tags, err := b.cfg.Store.(isolde.Store).Tags(ctx, isolde.Resource{Runtime: id})
	if err != nil || tags["team"] != "a" {
		t.Errorf("tags = %v, %v", tags, err)
	}
}

func TestFailureIsToldAndCanBeMended(t *testing.T) {
	b := newBed(t)
	b.builder.set(nil, isolde.Errorf(isolde.CodeInvalid, "no matching distribution for nosuch").WithHint("check requirements.txt"))
	c, err := b.Create(t.Context(), "", "agent", container("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := c.Runtime.ID
	r := b.settle(t, id)
	const reason = "no matching distribution for nosuch (check requirements.txt)"
	if r.Status != isolde.StatusCreateFailed || r.FailureReason != reason {
		t.Errorf("runtime = %+v", r)
	}
	if e, err := b.Endpoint(t.Context(), id, isolde.DefaultEndpoint); err != nil || e.Status != isolde.StatusCreateFailed || e.Version != 0 {
		t.Errorf("DEFAULT = %+v, %v", e, err)
	}
	b.builder.set(nil, nil)
	if r := b.update(t, id, "two"); r.Status != isolde.StatusReady || r.Latest != 2 || r.FailureReason != "" {
		t.Errorf("runtime after the update = %+v", r)
	}
	if got := b.serves(t, id, ""); got != "two" {
		t.Errorf("DEFAULT serves %q", got)
	}
}

func TestDefaultServesTheLastGoodVersion(t *testing.T) {
	b := newBed(t)
	id := b.create(t, "one")
	hold := make(chan struct{})
	b.builder.set(hold, nil)
	c, err := b.Update(t.Context(), "", id, container("two"))
	if err != nil || c.Runtime.Status != isolde.StatusUpdating || c.Version.Number != 2 {
		t.Fatalf("update = %+v, %v", c, err)
	}
	if got := b.serves(t, id, ""); got != "one" {
		t.Errorf("while UPDATING DEFAULT serves %q", got)
	}
	close(hold)
	b.settle(t, id)
	if got := b.serves(t, id, ""); got != "two" {
		t.Errorf("after the update DEFAULT serves %q", got)
	}
	b.builder.set(nil, fmt.Errorf("no space left"))
	if r := b.update(t, id, "three"); r.Status != isolde.StatusUpdateFailed || !strings.Contains(r.FailureReason, "no space left") {
		t.Errorf("runtime = %+v", r)
	}
	if got := b.serves(t, id, ""); got != "two" {
		t.Errorf("after a failed update DEFAULT serves %q", got)
	}
}

func TestUpdateKeepsWhatTheAPIHasNoWordsFor(t *testing.T) {
	b := newBed(t)
	own := isolde.VersionSpec{Resources: isolde.Resources{MemoryBytes: 1 << 30}, Network: isolde.Network{Egress: isolde.EgressNone}, BindSessions: new(bool)}
	d := b.deploy(t, "one", own)
	b.update(t, d.Runtime.ID, "two")
	target, err := b.Resolve(t.Context(), "agent", "")
	if err != nil {
		t.Fatal(err)
	}
	if s := target.Launch.Spec; s.Network.Egress != own.Network.Egress || s.Resources.MemoryBytes != own.Resources.MemoryBytes {
		t.Errorf("after an update through the API: %+v, %+v", s.Network, s.Resources)
	}
	if bind := target.Version.Spec.BindSessions; bind == nil || *bind {
		t.Errorf("after an update through the API bindSessions = %v", bind)
	}
}

func TestClientTokens(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	token := strings.Repeat("t", 36)
	first, err := b.Create(ctx, token, "agent", container("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := first.Runtime.ID
	b.settle(t, id)
	b.Close()
	b.open(t) // a token outlives the server
	again, err := b.Create(ctx, token, "agent", container("one"), nil)
	if diff := cmp.Diff(first, again); err != nil || diff != "" {
		t.Errorf("repeated create: %v (-first +again):\n%s", err, diff)
	}
	_, err = b.Create(ctx, token, "agent", container("two"), nil)
	wantCode(t, "create with the token of another", err, isolde.CodeMismatch)

	for _, test := range []struct {
		name   string
		change func() (isolde.Change, error)
	}{
		{"update", func() (isolde.Change, error) { return b.Update(ctx, token, id, container("two")) }},
		{"create endpoint", func() (isolde.Change, error) {
			return b.CreateEndpoint(ctx, token, isolde.Endpoint{Runtime: id, Name: "prod"}, nil)
		}},
		{"update endpoint", func() (isolde.Change, error) { return b.UpdateEndpoint(ctx, token, id, "prod", EndpointChange{}) }},
		{"delete endpoint", func() (isolde.Change, error) { return b.DeleteEndpoint(ctx, token, id, "prod") }},
		{"delete", func() (isolde.Change, error) { return b.Delete(ctx, token, id) }},
	} {
		one, err1 := test.change()
		r := b.settle(t, id)
		two, err2 := test.change()
		if diff := cmp.Diff(one, two); err1 != nil || err2 != nil || diff != "" {
			t.Errorf("%s twice: %v, %v (-first +again):\n%s", test.name, err1, err2, diff)
		}
		if r.ID != "" && r.Latest != 2 {
			t.Errorf("after %s the newest version is %d", test.name, r.Latest)
		}
	}
	_, err = b.Create(ctx, "short", "other", container("one"), nil)
	wantCode(t, "a token that is too short", err, isolde.CodeInvalid)
}

func TestDeletingEndsSessionsAndRemovesFiles(t *testing.T) {
	b := newBed(t)
	id := b.create(t, "one")
	b.startSession(t, id, "s")
	c, err := b.Delete(t.Context(), "", id)
	if err != nil || c.Runtime.Status != isolde.StatusDeleting {
		t.Fatalf("delete = %+v, %v", c, err)
	}
	b.settle(t, id)
	_, err = b.cfg.Store.Runtime(t.Context(), string(id))
	wantCode(t, "runtime after delete", err, isolde.CodeNotFound)
	_, err = b.Resolve(t.Context(), "agent", "")
	wantCode(t, "resolve after delete", err, isolde.CodeNotFound)
	if n := b.fake.Live(); n != 0 {
		t.Errorf("%d sandboxes live", n)
	}
	_, err = b.Delete(t.Context(), "", id)
	wantCode(t, "second delete", err, isolde.CodeNotFound)
	b.create(t, "one") // the name is free
}

func TestRemoveCancelsTheBuild(t *testing.T) {
	b := newBed(t)
	b.builder.set(make(chan struct{}), nil) // never
	c, err := b.Create(t.Context(), "", "agent", container("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Remove(t.Context(), "agent"); err != nil {
		t.Fatal(err)
	}
	if r := b.settle(t, c.Runtime.ID); r.ID != "" {
		t.Errorf("left: %+v", r)
	}
}

func TestDeleteVersion(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	id := b.create(t, "one")
	b.startSession(t, id, "s")
	b.update(t, id, "two")
	_, err := b.DeleteVersion(ctx, "", id, 2)
	wantCode(t, "delete of DEFAULT's version", err, isolde.CodeConflict)
	_, err = b.DeleteVersion(ctx, "", id, 7)
	wantCode(t, "delete of no version", err, isolde.CodeNotFound)
	if n := b.fake.Live(); n != 1 {
		t.Fatalf("%d sandboxes live", n)
	}
	if c, err := b.DeleteVersion(ctx, "", id, 1); err != nil || c.Version.Number != 1 {
		t.Errorf("delete = %+v, %v", c, err)
	}
	if n := b.fake.Live(); n != 0 {
		t.Errorf("%d sandboxes of the version live", n)
	}
	_, err = b.cfg.Store.Version(ctx, id, 1)
	wantCode(t, "deleted version", err, isolde.CodeNotFound)
}

// What a server leaves unfinished the next one does.
func TestTheNextServerGoesOn(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	b.builder.set(make(chan struct{}), nil)
	c, err := b.Create(ctx, "", "agent", container("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := c.Runtime.ID
	b.Close() // the build is cut off
	if r := b.settle(t, id); r.Status != isolde.StatusCreating {
		t.Fatalf("runtime after the server's end = %+v", r)
	}
	b.builder.set(nil, nil)
	b.open(t)
	if r := b.settle(t, id); r.Status != isolde.StatusReady {
		t.Errorf("runtime after the next server's start = %+v", r)
	}
	for _, change := range []func() error{ // recorded, and nothing else: the server died
		func() error {
			_, err := b.cfg.Store.CreateEndpoint(ctx, isolde.Once{}, isolde.Endpoint{Runtime: id, Name: "prod", Target: 1, Status: isolde.StatusCreating}, nil)
			return err
		},
		func() error {
			e, err := b.Endpoint(ctx, id, "prod")
			if err == nil {
				e.Status = isolde.StatusDeleting
				_, err = b.cfg.Store.PutEndpoint(ctx, isolde.Once{}, e)
			}
			return err
		},
	} {
		b.Close()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		b.open(t)
		b.settle(t, id)
		e, err := b.Endpoint(ctx, id, "prod")
		if isolde.CodeOf(err) != isolde.CodeNotFound && (e.Status != isolde.StatusReady || e.Version != 1) {
			t.Errorf("endpoint = %+v, %v", e, err)
		}
	}
	_, err = b.Endpoint(ctx, id, "prod")
	wantCode(t, "deleted endpoint", err, isolde.CodeNotFound)

	r := b.settle(t, id)
	b.Close()
	r.Status = isolde.StatusDeleting
	if _, err := b.cfg.Store.SetRuntimeStatus(ctx, isolde.Once{}, r); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	if r := b.settle(t, id); r.ID != "" {
		t.Errorf("left: %+v", r)
	}
}

func TestCodeIsFetchedAndUnpacked(t *testing.T) {
	b := newBed(t)
	b.builder.digest = "zip"
	code := func(key string) isolde.VersionSpec {
		s := container("")
		s.Artifact = &isolde.Artifact{Code: &isolde.CodeArtifact{
			Code:    isolde.CodeLocation{S3: &isolde.S3Location{Bucket: "bucket", Key: key}},
			Runtime: isolde.RuntimePython312, Entrypoint: []string{"agent.py"},
		}}
		return s
	}
	c, err := b.Create(t.Context(), "", "agent", code("agent.zip"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := b.settle(t, c.Runtime.ID); r.Status != isolde.StatusReady {
		t.Fatalf("runtime = %+v", r)
	}
	src := b.builder.source[0]
	if src.Runtime != isolde.RuntimePython312 || len(b.builder.files) != 1 || filepath.Base(b.builder.files[0]) != "agent.py" {
		t.Errorf("built %+v of %v", src, b.builder.files)
	}
	if left, _ := os.ReadDir(b.cfg.TempDir); len(left) > 0 {
		t.Errorf("left in the build folder: %v", left)
	}
	if _, err := b.Update(t.Context(), "", c.Runtime.ID, code("missing.zip")); err != nil {
		t.Fatal(err)
	}
	if r := b.settle(t, c.Runtime.ID); r.Status != isolde.StatusUpdateFailed || !strings.Contains(r.FailureReason, "s3://bucket/missing.zip") {
		t.Errorf("runtime = %+v", r)
	}
}

func TestWhatCannotRunIsNotReady(t *testing.T) {
	b := newBed(t)
	for want, change := range map[string]func(*isolde.VersionSpec){
		"customJWTAuthorizer": func(s *isolde.VersionSpec) {
			s.Authorizer = &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{DiscoveryURL: "https://id.example/.well-known/openid-configuration"}}
		},
		"filesystemConfigurations": func(s *isolde.VersionSpec) {
			s.Filesystems = []isolde.Filesystem{{Capacity: &isolde.VolumeMount{Volume: "data", MountPath: "/mnt/data"}}}
		},
		"container image": func(*isolde.VersionSpec) { b.Catalog.cfg.Driver = sandbox.Capabilities{} },
	} {
		spec := container("one")
		change(&spec)
		c, err := b.Create(t.Context(), "", "agent", spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := b.settle(t, c.Runtime.ID)
		if r.Status != isolde.StatusCreateFailed || !strings.Contains(r.FailureReason, want) {
			t.Errorf("%s: %s, %q", want, r.Status, r.FailureReason)
		}
		if _, err := b.Remove(t.Context(), "agent"); err != nil {
			t.Fatal(err)
		}
		b.Catalog.cfg.Driver = sandbox.Capabilities{OwnRoot: true}
	}
}

func TestAllThatIsWrongIsTold(t *testing.T) {
	b := newBed(t)
	spec := container("")
	spec.Role, spec.CapacityProvider = "root", "arn:aws:bedrock-agentcore:us-east-1:1:capacity-provider/x"
	spec.Lifecycle.IdleTimeout = 5
	_, err := b.Create(t.Context(), "?", "1agent", spec, map[string]string{"": "x"})
	wantCode(t, "create", err, isolde.CodeInvalid)
	var names []string
	for _, f := range isolde.AsError(err).Fields {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	want := []string{
		"agentRuntimeArtifact.containerConfiguration.containerUri", "agentRuntimeName", "capacityProviderConfiguration",
		"clientToken", "lifecycleConfiguration.idleRuntimeSessionTimeout", "roleArn", "tags key",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// Callers of all kinds at once leave a state that makes sense.
func TestManyAtOnce(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				uri := fmt.Sprintf("image-%d-%d", i, j)
				c, err := b.Create(ctx, "", "agent", container(uri), nil)
				id := c.Runtime.ID
				if err != nil {
					r, err := b.cfg.Store.Runtime(ctx, "agent")
					if err != nil {
						continue
					}
					id = r.ID
				}
				for _, err := range []error{
					second(b.Update(ctx, "", id, container(uri))),
					second(b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "prod"}, nil)),
					second(b.UpdateEndpoint(ctx, "", id, "prod", EndpointChange{Description: &uri})),
					second(b.Resolve(ctx, "agent", "")),
					second(b.DeleteEndpoint(ctx, "", id, "prod")),
					second(b.Delete(ctx, "", id)),
				} {
					switch code := isolde.CodeOf(err); code {
					case "", isolde.CodeConflict, isolde.CodeNotFound:
					default:
						t.Errorf("%s: %v", code, err)
					}
				}
			}
		})
	}
	wg.Wait()
	rs, err := b.cfg.Store.Runtimes(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		b.settle(t, r.ID)
	}
	if left, err := b.cfg.Store.Unfinished(ctx); err != nil || len(left) > 0 {
		t.Errorf("unfinished: %+v, %v", left, err)
	}
}

func second[T any](_ T, err error) error { return err }
