package sqlite

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestEndpoints(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	e := isolde.Endpoint{
		Runtime: r.ID, Name: "default", Target: 1, Status: isolde.StatusCreating,
		Description: "beside DEFAULT", CreatedAt: at(1), UpdatedAt: at(1),
	}
	c, err := s.CreateEndpoint(t.Context(), isolde.Once{}, e, map[string]string{"a": "b"})
	if diff := cmp.Diff(isolde.Change{Runtime: r, Endpoint: e}, c); err != nil || diff != "" {
		t.Errorf("create: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.CreateEndpoint(t.Context(), isolde.Once{}, e, nil)
	wantCode(t, "second endpoint of the name", err, isolde.CodeConflict)
	_, err = s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: "nobody-0123456789", Name: "e"}, nil)
	wantCode(t, "endpoint of no runtime", err, isolde.CodeNotFound)

	told := isolde.Endpoint{
		Runtime: r.ID, Name: "default", Version: 1, Target: 2, Status: isolde.StatusUpdateFailed, FailureReason: "gone",
		Description: "new", CreatedAt: at(8), UpdatedAt: at(9),
	}
	want := told
	want.CreatedAt = at(1)
	c, err = s.PutEndpoint(t.Context(), isolde.Once{}, told)
	if diff := cmp.Diff(isolde.Change{Runtime: r, Endpoint: want}, c); err != nil || diff != "" {
		t.Errorf("put: %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(want, endpoint(t, s, r.ID, "default")); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if e := endpoint(t, s, r.ID, "DEFAULT"); e.Version != 1 || e.Status != isolde.StatusReady {
		t.Errorf("DEFAULT = %+v", e)
	}
	_, err = s.PutEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: r.ID, Name: "prod"})
	wantCode(t, "put of no endpoint", err, isolde.CodeNotFound)

	if err := s.DeleteEndpoint(t.Context(), r.ID, "default"); err != nil {
		t.Error(err)
	}
	wantCode(t, "second delete", s.DeleteEndpoint(t.Context(), r.ID, "default"), isolde.CodeNotFound)
	if _, err = s.CreateEndpoint(t.Context(), isolde.Once{}, e, nil); err != nil {
		t.Fatal(err)
	}
	if tags, err := s.Tags(t.Context(), isolde.Resource{Runtime: r.ID, Endpoint: "default"}); err != nil || tags == nil || len(tags) != 0 {
		t.Errorf("tags of another endpoint of the name = %v, %v", tags, err)
	}
}
