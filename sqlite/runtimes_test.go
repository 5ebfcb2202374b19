package sqlite

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestNameIsUnique(t *testing.T) {
	s := openNew(t)
	create(t, s, "alpha")
	r, v := runtimeOf("alpha")
	r.ID, v.Runtime = "alpha-9876543210", "alpha-9876543210"
	_, err := s.CreateRuntime(t.Context(), isolde.Once{}, r, v, nil)
	wantCode(t, "second runtime of the name", err, isolde.CodeConflict)
	if vs, err := s.Versions(t.Context(), r.ID, 0, 0); err != nil || len(vs) != 0 {
		t.Errorf("half of it was stored: %v, %v", vs, err)
	}
}

func TestRuntimeThatIsBuilt(t *testing.T) {
	s := openNew(t)
	r, v := runtimeOf("alpha")
	r.Status, v.Status, v.Image, r.Latest, v.Number = isolde.StatusCreating, isolde.StatusCreating, "", 0, 0
	c, err := s.CreateRuntime(t.Context(), isolde.Once{}, r, v, nil)
	if err != nil || c.Runtime.Latest != 1 || c.Version.Number != 1 || c.Runtime.Status != isolde.StatusCreating {
		t.Fatalf("create = %+v, %v", c, err)
	}
	if e := endpoint(t, s, r.ID, "DEFAULT"); e.Version != 0 || e.Target != 1 || e.Status != isolde.StatusCreating {
		t.Errorf("DEFAULT = %+v", e)
	}
	_, es, vs, err := s.Serving(t.Context(), r.Name)
	if err != nil || len(es) != 1 || len(vs) != 0 {
		t.Errorf("serving = %+v, %+v, %v", es, vs, err)
	}
}

func TestRuntimesByPage(t *testing.T) {
	s := openNew(t)
	for _, name := range []string{"c", "a", "b"} {
		create(t, s, name)
	}
	var names []string
	for after := ""; ; {
		page, err := s.Runtimes(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if r.Description != "of "+r.Name {
				t.Errorf("description of %s = %q", r.Name, r.Description)
			}
			names = append(names, r.Name)
		}
		after = page[len(page)-1].Name
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestStatusOfARuntime(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	want := r
	want.Status, want.FailureReason, want.UpdatedAt = isolde.StatusDeleteFailed, "a session does not end", at(5)
	told := isolde.AgentRuntime{ID: r.ID, Status: want.Status, FailureReason: want.FailureReason, UpdatedAt: want.UpdatedAt}
	c, err := s.SetRuntimeStatus(t.Context(), isolde.Once{}, told)
	if diff := cmp.Diff(isolde.Change{Runtime: want}, c); err != nil || diff != "" {
		t.Errorf("change: %v (-want +got):\n%s", err, diff)
	}
	got, err := s.Runtime(t.Context(), r.Name)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("runtime: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.SetRuntimeStatus(t.Context(), isolde.Once{}, isolde.AgentRuntime{ID: "nobody-0123456789"})
	wantCode(t, "status of no runtime", err, isolde.CodeNotFound)
}

func TestDeletedRuntimeLeavesNothing(t *testing.T) {
	s := openNew(t)
	kept, v := create(t, s, "kept")
	add(t, s, v, isolde.StatusReady, 1)
	want := dump(t, s)

	r, v := create(t, s, "gone")
	add(t, s, v, isolde.StatusReady, 1)
	_, err := s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: r.ID, Name: "prod", Version: 1}, map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutSession(t.Context(), isolde.Session{Runtime: r.ID, ID: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRuntime(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, dump(t, s)); diff != "" {
		t.Errorf("after the delete, beside %s (-want +got):\n%s", kept.ID, diff)
	}
	wantCode(t, "second delete", s.DeleteRuntime(t.Context(), r.ID), isolde.CodeNotFound)
	_, err = s.Runtime(t.Context(), "gone")
	wantCode(t, "runtime", err, isolde.CodeNotFound)
	_, _, _, err = s.Serving(t.Context(), "gone")
	wantCode(t, "serving", err, isolde.CodeNotFound)
}

func TestServing(t *testing.T) {
	s := openNew(t)
	r, v1 := create(t, s, "alpha")
	add(t, s, v1, isolde.StatusReady, 1)
	v3 := add(t, s, v1, isolde.StatusReady, 2)
	add(t, s, v1, isolde.StatusUpdating, 3)
	for _, name := range []isolde.EndpointName{"a", "b"} {
		_, err := s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: r.ID, Name: name, Version: 1, Target: 2}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	got, es, vs, err := s.Serving(t.Context(), string(r.ID))
	if err != nil || got.Latest != 4 || len(es) != 3 {
		t.Errorf("serving = %+v, %+v, %v", got, es, err)
	}
	if diff := cmp.Diff([]isolde.Version{v3, v1}, vs); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestUnfinished(t *testing.T) {
	s := openNew(t)
	create(t, s, "ready")
	a, _ := create(t, s, "itself")
	a.Status = isolde.StatusDeleting
	_, err1 := s.SetRuntimeStatus(t.Context(), isolde.Once{}, a)
	_, v := create(t, s, "version")
	building := add(t, s, v, isolde.StatusUpdating, 1)
	add(t, s, v, isolde.StatusReady, 2)
	b, _ := create(t, s, "endpoint")
	_, err2 := s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: b.ID, Name: "e", Status: isolde.StatusCreating}, nil)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	want := []string{"endpoint", "itself", "version"}
	for range 2 {
		all, err := s.Unfinished(t.Context())
		var names []string
		for _, r := range all {
			names = append(names, r.Name)
		}
		if diff := cmp.Diff(want, names); err != nil || diff != "" {
			t.Errorf("unfinished: %v (-want +got):\n%s", err, diff)
		}
		building.Status = isolde.StatusUpdateFailed
		if err := s.FinishVersion(t.Context(), building); err != nil {
			t.Fatal(err)
		}
		want = []string{"endpoint", "itself"}
	}
}
