package operator

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
)

// recorder keeps the steps of a build, and signals the first.
type recorder struct {
	steps []string
	first chan struct{}
}

func newRecorder() *recorder { return &recorder{first: make(chan struct{})} }

func (r *recorder) step(p image.Progress) {
	if r.steps = append(r.steps, p.Message); len(r.steps) == 1 {
		close(r.first)
	}
}

func TestWaitShowsABuildAsItGoes(t *testing.T) {
	b := newBed(t)
	id := b.create(t, "weather", "slow")
	r := newRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d, err := b.Wait(t.Context(), "weather", r.step)
		want := Deployed{ARN: b.handler.Locality.RuntimeARN(id), ID: id, Name: "weather", Version: 1, Status: isolde.StatusReady}
		if diff := cmp.Diff(want, d); diff != "" || err != nil {
			t.Errorf("wait = %v\n%s", err, diff)
		}
	}()
	<-r.first // although the build is not over
	close(b.builder.finish)
	<-done
	if diff := cmp.Diff([]string{"pulling slow", "built slow"}, r.steps); diff != "" {
		t.Error(diff)
	}
}

func TestWaitTellsWhyABuildFailed(t *testing.T) {
	b := newBed(t)
	id := b.create(t, "weather", "bad1")
	for range 2 { // while it is built, and later
		_, err := b.Wait(t.Context(), string(id), nil)
		wantCode(t, "wait for a bad image", err, isolde.CodeInvalid)
		if err == nil || !strings.Contains(err.Error(), "version 1 of agent weather is CREATE_FAILED: bad1 is no image (name another)") {
			t.Errorf("the reason is told as %v", err)
		}
	}
	b.deploy(t, "weather", "good")
	if _, err := b.catalog.Update(t.Context(), "", id, imageSpec("bad3")); err != nil {
		t.Fatal(err)
	}
	_, err := b.Wait(t.Context(), "weather", nil)
	if err == nil || !strings.Contains(err.Error(), "version 3 of agent weather is UPDATE_FAILED: bad3 is no image") {
		t.Errorf("the reason is told as %v", err)
	}
}

func TestWaitForWhatIsOver(t *testing.T) {
	b := newBed(t)
	d := b.deploy(t, "weather", "one")
	r := newRecorder()
	got, err := b.Wait(t.Context(), d.ARN, r.step)
	if err != nil || got.Version != 1 || got.Created || got.Changed || r.steps != nil {
		t.Errorf("wait = %+v, %v after %q", got, err, r.steps)
	}
	_, err = b.Wait(t.Context(), "nobody", nil)
	wantCode(t, "wait for nobody", err, isolde.CodeNotFound)
}

func TestWaitForADeletion(t *testing.T) {
	b := newBed(t)
	id := b.create(t, "weather", "slow")
	r := newRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := b.Wait(t.Context(), "weather", r.step)
		wantCode(t, "wait for what is deleted meanwhile", err, isolde.CodeNotFound)
	}()
	<-r.first
	if _, err := b.catalog.Remove(t.Context(), string(id)); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestWaitEndsWithItsContext(t *testing.T) {
	b := newBed(t)
	b.create(t, "weather", "slow")
	cause := isolde.Errorf(isolde.CodeUnavailable, "enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := b.Wait(ctx, "weather", func(image.Progress) { cancel(cause) })
	if err != error(cause) { //nolint:errorlint // just this one
		t.Errorf("wait = %v", err)
	}
}

func TestDeployArtifact(t *testing.T) {
	b := newBed(t)
	spec := imageSpec("one")
	spec.Resources, spec.Network = isolde.Resources{CPUs: 1}, isolde.Network{Egress: isolde.EgressNone}
	deploy := func(spec isolde.VersionSpec, progress func(image.Progress)) (Deployed, error) {
		return b.Deploy(t.Context(), Deployment{Name: "weather", Spec: spec}, "", progress)
	}
	r := newRecorder()
	d, err := deploy(spec, r.step)
	if err != nil || !d.Created || !d.Changed || d.Version != 1 || d.Status != isolde.StatusReady || len(r.steps) != 2 {
		t.Fatalf("first deployment = %+v, %v after %q", d, err, r.steps)
	}
	if d, err = deploy(spec, nil); err != nil || d.Created || d.Changed || d.Version != 1 {
		t.Errorf("the same again = %+v, %v", d, err)
	}
	spec.Resources.CPUs = 2
	if d, err = deploy(spec, nil); err != nil || d.Created || !d.Changed || d.Version != 2 {
		t.Errorf("with other resources = %+v, %v", d, err)
	}
	a, err := b.Agent(t.Context(), "weather")
	if err != nil || a.Versions[0].Spec.Resources.CPUs != 2 || a.Versions[0].Spec.Network.Egress != isolde.EgressNone {
		t.Errorf("deployed = %+v, %v", a.Versions, err)
	}

	// What fails leaves nothing.
	_, err = deploy(imageSpec("bad"), nil)
	wantCode(t, "bad image", err, isolde.CodeInvalid)
	_, err = b.Deploy(t.Context(), Deployment{Name: "other", Spec: imageSpec("bad")}, "", nil)
	wantCode(t, "bad image", err, isolde.CodeInvalid)
	if list, err := b.Agents(t.Context()); err != nil || len(list) != 1 || list[0].Latest != 2 || list[0].Status != isolde.StatusReady {
		t.Errorf("after failures there is %+v, %v", list, err)
	}
	code := isolde.VersionSpec{Artifact: &isolde.Artifact{Code: &isolde.CodeArtifact{
		Code: isolde.CodeLocation{S3: &isolde.S3Location{Bucket: "builds", Key: "a.zip"}}, Runtime: isolde.RuntimePython312, Entrypoint: []string{"a.py"},
	}}}
	if _, err = deploy(code, nil); err == nil || !strings.Contains(err.Error(), "there is no s3://builds/a.zip") {
		t.Errorf("archive that is not there: %v", err)
	}
}

func TestDeployFolder(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "agent.py"), []byte("pass"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := b.Deploy(t.Context(), Deployment{Name: "weather", Spec: isolde.VersionSpec{Entrypoint: []string{"agent.py"}}}, dir, nil)
	if err != nil || !d.Created || d.Version != 1 {
		t.Errorf("deploy = %+v, %v", d, err)
	}
}

func TestBadDeployments(t *testing.T) {
	b := newBed(t)
	part := func(name, body string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + body + "\r\n"
	}
	const artifact = `{"agentRuntimeArtifact": {"containerConfiguration": {"containerUri": "one"}}}`
	for name, test := range map[string]struct{ contentType, body string }{
		"no artifact":       {"application/json", `{"name": "a", "spec": {}}`},
		"no JSON":           {"application/json", `{"name": `},
		"unknown field":     {"application/json; charset=utf-8", `{"name": "a", "specs": {}}`},
		"bad name":          {"application/json", `{"name": "a-b", "spec": ` + artifact + `}`},
		"folder + artifact": {"multipart/form-data; boundary=x", part("spec", `{"name": "a", "spec": `+artifact+`}`) + part("source", "") + "--x--"},
		"no source":         {"multipart/form-data; boundary=x", part("spec", `{"name": "a", "spec": {}}`) + "--x--"},
		"no spec":           {"multipart/form-data; boundary=x", part("source", "") + "--x--"},
		"something else":    {"text/plain", "hello"},
	} {
		resp, err := http.Post(b.url+"/isolde/v1/deployments", test.contentType, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK { // then it is the last line that tells
			_, err = b.readDeployment(t.Context(), resp, nil)
		} else {
			err = readError(resp)
			resp.Body.Close()
		}
		wantCode(t, name, err, isolde.CodeInvalid)
	}
	http.DefaultClient.CloseIdleConnections()
	if list, err := b.Agents(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("they left %+v, %v", list, err)
	}
}
