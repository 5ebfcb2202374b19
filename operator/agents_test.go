package operator

import (
	"testing"

	"github.com/isolde-run/isolde"
)

func TestListIsShort(t *testing.T) {
	b := newBed(t)
	b.deploy(t, "weather", "one")
	b.deploy(t, "weather", "two")
	b.deploy(t, "calc", "one")
	list, err := b.Agents(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "calc" || list[1].Name != "weather" || list[1].Latest != 2 {
		t.Fatalf("agents are %+v, %v", list, err)
	}
	for _, a := range list {
		if a.Versions != nil || a.Endpoints != nil || a.ARN == "" {
			t.Errorf("%s in the list is %+v", a.Name, a)
		}
	}
	for _, ref := range []string{"weather", string(list[1].ID), list[1].ARN} {
		a, err := b.Agent(t.Context(), ref)
		if err != nil || len(a.Versions) != 2 || a.Versions[0].Number != 2 || len(a.Endpoints) != 1 {
			t.Errorf("agent %s is %+v, %v", ref, a, err)
		}
	}
	_, err = b.Agent(t.Context(), "nobody")
	wantCode(t, "unknown agent", err, isolde.CodeNotFound)
}

func TestDeleteEndsABuildAndWaits(t *testing.T) {
	b := newBed(t)
	b.create(t, "weather", "slow")
	if err := b.DeleteAgent(t.Context(), "weather"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Agent(t.Context(), "weather")
	wantCode(t, "deleted agent", err, isolde.CodeNotFound)
	wantCode(t, "second delete", b.DeleteAgent(t.Context(), "weather"), isolde.CodeNotFound)
}
