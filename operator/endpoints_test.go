package operator

import (
	"net/http"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
)

func TestEndpoints(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	b.deploy(t, "weather", "one")
	b.deploy(t, "weather", "two")
	put := func(name isolde.EndpointName, c EndpointChange) (isolde.Endpoint, error) {
		return b.PutEndpoint(ctx, "weather", name, c)
	}
	about := "for all"
	for _, step := range []struct {
		what        string
		change      EndpointChange
		version     isolde.VersionNumber
		description string
	}{
		{"make it", EndpointChange{}, 2, ""},
		{"move it", EndpointChange{Version: 1}, 1, ""},
		{"describe it", EndpointChange{Description: &about}, 1, "for all"},
		{"move it again", EndpointChange{Version: 2}, 2, "for all"},
		{"leave it", EndpointChange{Version: 2}, 2, "for all"},
	} {
		e, err := put("prod", step.change)
		if err != nil || e.Status != isolde.StatusReady || e.Version != step.version || e.Target != step.version || e.Description != step.description {
			t.Errorf("%s: %+v, %v", step.what, e, err)
		}
		target, err := b.catalog.Resolve(ctx, "weather", "prod")
		if err != nil || target.Version.Number != step.version {
			t.Errorf("%s: it resolves to %+v, %v", step.what, target, err)
		}
	}
	if all, err := b.Endpoints(ctx, "weather"); err != nil || len(all) != 2 || all[0].Name != isolde.DefaultEndpoint || all[1].Name != "prod" {
		t.Errorf("endpoints are %+v, %v", all, err)
	}

	_, err := put("prod", EndpointChange{Version: 3})
	wantCode(t, "a version that is not there", err, isolde.CodeNotFound)
	_, err = put(isolde.DefaultEndpoint, EndpointChange{Version: 1})
	wantCode(t, "moving DEFAULT", err, isolde.CodeInvalid)
	_, err = put("bad-name", EndpointChange{Version: 1})
	wantCode(t, "a bad name", err, isolde.CodeInvalid)
	_, err = b.PutEndpoint(ctx, "nobody", "prod", EndpointChange{})
	wantCode(t, "an unknown agent", err, isolde.CodeNotFound)

	wantCode(t, "deleting DEFAULT", b.DeleteEndpoint(ctx, "weather", isolde.DefaultEndpoint), isolde.CodeConflict)
	if err := b.DeleteEndpoint(ctx, "weather", "prod"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "deleting it again", b.DeleteEndpoint(ctx, "weather", "prod"), isolde.CodeNotFound)
	if all, err := b.Endpoints(ctx, "weather"); err != nil || len(all) != 1 {
		t.Errorf("after the delete there are %+v, %v", all, err)
	}
}

func TestEndpointWithoutAnImage(t *testing.T) {
	b := newBed(t)
	b.deploy(t, "weather", "one")
	b.deploy(t, "weather", "two")
	if _, err := b.PutEndpoint(t.Context(), "weather", "prod", EndpointChange{Version: 2}); err != nil {
		t.Fatal(err)
	}
	b.builder.mu.Lock()
	b.builder.gone["one"] = true
	b.builder.mu.Unlock()
	e, err := b.PutEndpoint(t.Context(), "weather", "prod", EndpointChange{Version: 1})
	if err != nil || e.Status != isolde.StatusUpdateFailed || e.Version != 2 || e.Target != 1 || !strings.Contains(e.FailureReason, "no image one") {
		t.Errorf("put = %+v, %v", e, err)
	}
}

func TestBadEndpointChange(t *testing.T) {
	b := newBed(t)
	b.deploy(t, "weather", "one")
	for _, body := range []string{"", "{", `{"target": 1}`} {
		req, err := http.NewRequest(http.MethodPut, b.url+"/isolde/v1/agents/weather/endpoints/prod", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, body, readError(resp), isolde.CodeMalformed)
		resp.Body.Close()
	}
}
