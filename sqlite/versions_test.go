package sqlite

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// numbers are the versions of a runtime that are stored, newest first.
func numbers(t *testing.T, s *Store, id isolde.RuntimeID) []isolde.VersionNumber {
	t.Helper()
	vs, err := s.Versions(t.Context(), id, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []isolde.VersionNumber
	for _, v := range vs {
		all = append(all, v.Number)
	}
	return all
}

func TestDefaultFollowsTheNewestVersion(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	for i, step := range []struct {
		status          isolde.Status
		serves, targets isolde.VersionNumber
	}{
		{isolde.StatusReady, 2, 2},
		{isolde.StatusUpdating, 2, 3},
		{isolde.StatusUpdateFailed, 2, 4},
		{isolde.StatusReady, 5, 5},
	} {
		v.Spec.Description = fmt.Sprint("step ", i)
		v.FailureReason = "reason " + string(step.status)
		got := add(t, s, v, step.status, i+1)
		if got.Number != isolde.VersionNumber(i+2) {
			t.Fatalf("version = %d", got.Number)
		}
		want := isolde.Endpoint{
			Runtime: r.ID, Name: "DEFAULT", Version: step.serves, Target: step.targets,
			Status: step.status, FailureReason: v.FailureReason, CreatedAt: at(0), UpdatedAt: at(i + 1),
		}
		if diff := cmp.Diff(want, endpoint(t, s, r.ID, "DEFAULT")); diff != "" {
			t.Errorf("DEFAULT at step %d (-want +got):\n%s", i, diff)
		}
		r.Status, r.FailureReason, r.Latest, r.Description, r.UpdatedAt = step.status, v.FailureReason, got.Number, v.Spec.Description, at(i+1)
		now, err := s.Runtime(t.Context(), r.Name)
		if diff := cmp.Diff(r, now); err != nil || diff != "" {
			t.Errorf("runtime at step %d: %v (-want +got):\n%s", i, err, diff)
		}
	}
	v.Runtime = "nobody-0123456789"
	_, err := s.AddVersion(t.Context(), isolde.Once{}, v)
	wantCode(t, "version of no runtime", err, isolde.CodeNotFound)
}

func TestFinishVersion(t *testing.T) {
	for _, test := range []struct {
		name   string
		status isolde.Status
		newer  bool // another version was added meanwhile
		serves isolde.VersionNumber
	}{
		{"ready", isolde.StatusReady, false, 2},
		{"failed", isolde.StatusUpdateFailed, false, 1},
		{"ready, but no longer the newest", isolde.StatusReady, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openNew(t)
			r, v := create(t, s, "alpha")
			v.Image = ""
			made := add(t, s, v, isolde.StatusUpdating, 1)
			if test.newer {
				add(t, s, v, isolde.StatusUpdating, 2)
			}
			before, def := endpoint(t, s, r.ID, "DEFAULT"), isolde.Endpoint{}
			made.Image, made.Status, made.FailureReason, made.UpdatedAt = "sha256:2", test.status, "because", at(9)
			told := made
			told.Spec = isolde.VersionSpec{Description: "is not taken"}
			if err := s.FinishVersion(t.Context(), told); err != nil {
				t.Fatal(err)
			}
			got, err := s.Version(t.Context(), r.ID, 2)
			if diff := cmp.Diff(made, got); err != nil || diff != "" {
				t.Errorf("version: %v (-want +got):\n%s", err, diff)
			}
			def = before
			status, reason, minute := isolde.StatusUpdating, "", 2
			if !test.newer {
				status, reason, minute = test.status, "because", 9
				def.Version, def.Status, def.FailureReason, def.UpdatedAt = test.serves, status, reason, at(9)
			}
			if diff := cmp.Diff(def, endpoint(t, s, r.ID, "DEFAULT")); diff != "" {
				t.Errorf("DEFAULT (-want +got):\n%s", diff)
			}
			now, err := s.Runtime(t.Context(), r.Name)
			if err != nil || now.Status != status || now.FailureReason != reason || !now.UpdatedAt.Equal(at(minute)) {
				t.Errorf("runtime = %+v, %v", now, err)
			}
			if err := s.DeleteRuntime(t.Context(), r.ID); err != nil {
				t.Fatal(err)
			}
			wantCode(t, "finish of what is gone", s.FinishVersion(t.Context(), made), isolde.CodeNotFound)
		})
	}
}

func TestVersionsByPage(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	for i := range 4 {
		add(t, s, v, isolde.StatusReady, i)
	}
	for _, test := range []struct {
		before isolde.VersionNumber
		limit  int
		want   []isolde.VersionNumber
	}{{0, 2, []isolde.VersionNumber{5, 4}}, {4, 2, []isolde.VersionNumber{3, 2}}, {2, 2, []isolde.VersionNumber{1}}, {1, 2, nil}} {
		vs, err := s.Versions(t.Context(), r.ID, test.before, test.limit)
		var got []isolde.VersionNumber
		for _, v := range vs {
			got = append(got, v.Number)
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("before %d: %v (-want +got):\n%s", test.before, err, diff)
		}
	}
	_, err := s.Version(t.Context(), r.ID, 6)
	wantCode(t, "version 6", err, isolde.CodeNotFound)
}

func TestDeleteVersion(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	for i := range 3 {
		add(t, s, v, isolde.StatusReady, i)
	}
	_, err := s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: r.ID, Name: "prod", Version: 1, Target: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[isolde.VersionNumber]isolde.Code{1: isolde.CodeConflict, 2: isolde.CodeConflict, 4: isolde.CodeConflict, 5: isolde.CodeNotFound} {
		_, err := s.DeleteVersion(t.Context(), isolde.Once{}, isolde.Version{Runtime: r.ID, Number: n})
		wantCode(t, fmt.Sprint("delete version ", n), err, want)
	}
	c, err := s.DeleteVersion(t.Context(), isolde.Once{}, isolde.Version{Runtime: r.ID, Number: 3})
	if err != nil || c.Version.Number != 3 || c.Version.Image != v.Image || c.Runtime.ID != r.ID {
		t.Errorf("delete = %+v, %v", c, err)
	}
	if diff := cmp.Diff([]isolde.VersionNumber{4, 2, 1}, numbers(t, s, r.ID)); diff != "" {
		t.Error(diff)
	}
	if got := add(t, s, v, isolde.StatusReady, 5); got.Number != 5 {
		t.Errorf("next version = %d", got.Number)
	}
	_, err = s.DeleteVersion(t.Context(), isolde.Once{}, isolde.Version{Runtime: "nobody-0123456789", Number: 1})
	wantCode(t, "version of no runtime", err, isolde.CodeNotFound)
}

func TestPrune(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	for n := 2; n <= 12; n++ {
		v.Image = fmt.Sprintf("sha256:%d", n)
		status := isolde.StatusReady
		switch n {
		case 3:
			status = isolde.StatusUpdating // never pruned
		case 12:
			v.Image, status = "", isolde.StatusUpdateFailed
		}
		add(t, s, v, status, n)
	}
	_, err := s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: r.ID, Name: "prod", Version: 1, Target: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 { // a gap among the newest
		if _, err := s.DeleteVersion(t.Context(), isolde.Once{}, isolde.Version{Runtime: r.ID, Number: isolde.VersionNumber(n + 9)}); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := create(t, s, "other")

	// The newest three are 12, 11, 8; 1 and 2 are prod's; 3 is being made; 5 is
	// in use, as is one of a runtime that is not there.
	used := []isolde.VersionRef{{Runtime: r.ID, Number: 5}, {Runtime: "nobody-0123456789", Number: 6}, {Runtime: other.ID, Number: 4}}
	images, err := s.Prune(t.Context(), 3, used)
	want := []string{"sha256:1", "sha256:11", "sha256:2", "sha256:3", "sha256:5", "sha256:8"}
	if diff := cmp.Diff(want, images); err != nil || diff != "" {
		t.Errorf("images: %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]isolde.VersionNumber{12, 11, 8, 5, 3, 2, 1}, numbers(t, s, r.ID)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := s.Prune(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	// 12 is DEFAULT's target, 11 what it serves.
	if diff := cmp.Diff([]isolde.VersionNumber{12, 11, 3, 2, 1}, numbers(t, s, r.ID)); diff != "" {
		t.Errorf("left of none kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]isolde.VersionNumber{1}, numbers(t, s, other.ID)); diff != "" {
		t.Errorf("left of the other (-want +got):\n%s", diff)
	}
}

// TestPruneMeetsAChange has an endpoint take up a version between the two
// steps of Prune.
func TestPruneMeetsAChange(t *testing.T) {
	s := openNew(t)
	r, v := create(t, s, "alpha")
	for i := range 3 {
		add(t, s, v, isolde.StatusReady, i)
	}
	found, err := list(t.Context(), s.read, scanVersionRef, prunable, 1, "[]")
	if err != nil || len(found) != 3 {
		t.Fatalf("prunable = %v, %v", found, err)
	}
	_, err = s.CreateEndpoint(t.Context(), isolde.Once{}, isolde.Endpoint{Runtime: r.ID, Name: "prod", Target: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.removeVersions(t.Context(), found); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]isolde.VersionNumber{4, 2}, numbers(t, s, r.ID)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
