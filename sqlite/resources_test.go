package sqlite

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestTagsAndPolicies(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	runtime, def := isolde.Resource{Runtime: r.ID}, isolde.Resource{Runtime: r.ID, Endpoint: "DEFAULT"}
	for _, resource := range []isolde.Resource{runtime, def} {
		if tags, err := s.Tags(t.Context(), resource); err != nil || tags == nil || len(tags) != 0 {
			t.Errorf("tags of %v = %v, %v", resource, tags, err)
		}
		set := map[string]string{"a": "1", "b": "2", "of": string(resource.Endpoint)}
		if err := s.ChangeTags(t.Context(), resource, set, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		if err := s.ChangeTags(t.Context(), resource, map[string]string{"a": "3", "c": "4"}, []string{"b", "c"}); err != nil {
			t.Fatal(err)
		}
		document := `{"Statement":"` + string(resource.Endpoint) + `"}`
		if got, err := s.Policy(t.Context(), resource); err != nil || got != "" {
			t.Errorf("policy of %v = %q, %v", resource, got, err)
		}
		if err := s.SetPolicy(t.Context(), resource, document); err != nil {
			t.Fatal(err)
		}
	}
	for _, resource := range []isolde.Resource{runtime, def} {
		tags, err := s.Tags(t.Context(), resource)
		if diff := cmp.Diff(map[string]string{"a": "3", "of": string(resource.Endpoint)}, tags); err != nil || diff != "" {
			t.Errorf("tags of %v: %v (-want +got):\n%s", resource, err, diff)
		}
		if got, err := s.Policy(t.Context(), resource); err != nil || got != `{"Statement":"`+string(resource.Endpoint)+`"}` {
			t.Errorf("policy of %v = %q, %v", resource, got, err)
		}
	}
	if err := s.SetPolicy(t.Context(), def, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Policy(t.Context(), def); err != nil || got != "" {
		t.Errorf("removed policy = %q, %v", got, err)
	}
}

func TestTooManyTags(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	resource := isolde.Resource{Runtime: r.ID}
	many := make(map[string]string)
	for i := range isolde.MaxTags {
		many[fmt.Sprint(i)] = "x"
	}
	if err := s.ChangeTags(t.Context(), resource, many, nil); err != nil {
		t.Fatal(err)
	}
	err := s.ChangeTags(t.Context(), resource, map[string]string{"one": "more", "0": "y"}, nil)
	wantCode(t, "one more tag", err, isolde.CodeQuota)
	tags, err := s.Tags(t.Context(), resource)
	if diff := cmp.Diff(many, tags); err != nil || diff != "" {
		t.Errorf("tags: %v (-want +got):\n%s", err, diff)
	}
	if err := s.ChangeTags(t.Context(), resource, map[string]string{"one": "more"}, []string{"0"}); err != nil {
		t.Errorf("one in place of another = %v", err)
	}
}

func TestResourceThatIsNotThere(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "alpha")
	for _, resource := range []isolde.Resource{{Runtime: "nobody-0123456789"}, {Runtime: r.ID, Endpoint: "prod"}, {Runtime: "nobody-0123456789", Endpoint: "DEFAULT"}} {
		_, err := s.Tags(t.Context(), resource)
		wantCode(t, "tags", err, isolde.CodeNotFound)
		wantCode(t, "change of tags", s.ChangeTags(t.Context(), resource, map[string]string{"a": "b"}, nil), isolde.CodeNotFound)
		_, err = s.Policy(t.Context(), resource)
		wantCode(t, "policy", err, isolde.CodeNotFound)
		wantCode(t, "change of the policy", s.SetPolicy(t.Context(), resource, "{}"), isolde.CodeNotFound)
	}
}
