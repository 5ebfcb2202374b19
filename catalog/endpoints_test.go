package catalog

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestEndpointsMoveOnlyWhenTold(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	id := b.create(t, "one")
	c, err := b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "default", Description: "stable"}, nil)
	if err != nil || c.Endpoint.Status != isolde.StatusCreating || c.Endpoint.Target != 1 {
		t.Fatalf("create endpoint = %+v, %v", c.Endpoint, err)
	}
	b.settle(t, id)
	b.update(t, id, "two")
	if d, own := b.serves(t, id, "DEFAULT"), b.serves(t, id, "default"); d != "two" || own != "one" {
		t.Errorf("DEFAULT serves %s, default %s", d, own)
	}
	two := isolde.VersionNumber(2)
	c, err = b.UpdateEndpoint(ctx, "", id, "default", EndpointChange{Target: &two})
	if err != nil || c.Endpoint.Status != isolde.StatusUpdating || c.Endpoint.Target != 2 || c.Endpoint.Version != 1 {
		t.Fatalf("update endpoint = %+v, %v", c.Endpoint, err)
	}
	b.settle(t, id)
	e, err := b.Endpoint(ctx, id, "default")
	if err != nil || e.Version != 2 || e.Status != isolde.StatusReady || e.Description != "stable" {
		t.Errorf("endpoint = %+v, %v", e, err)
	}
	if got := b.serves(t, id, "default"); got != "two" {
		t.Errorf("default serves %s", got)
	}
	if _, err := b.DeleteEndpoint(ctx, "", id, "default"); err != nil {
		t.Fatal(err)
	}
	b.settle(t, id)
	if got := b.serves(t, id, "default"); got != string(isolde.CodeNotFound) {
		t.Errorf("deleted endpoint serves %s", got)
	}
}

func TestEndpointsThatCannotBe(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	id := b.create(t, "one")
	nine := isolde.VersionNumber(9)
	for what, test := range map[string]struct {
		code isolde.Code
		err  error
	}{
		"bad name":          {isolde.CodeInvalid, second(b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "a-b"}, nil))},
		"name taken":        {isolde.CodeConflict, second(b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "DEFAULT"}, nil))},
		"no version":        {isolde.CodeNotFound, second(b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "x", Target: 9}, nil))},
		"no runtime":        {isolde.CodeNotFound, second(b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: "no-0123456789", Name: "x"}, nil))},
		"moving DEFAULT":    {isolde.CodeInvalid, second(b.UpdateEndpoint(ctx, "", id, "DEFAULT", EndpointChange{Target: &nine}))},
		"deleting DEFAULT":  {isolde.CodeConflict, second(b.DeleteEndpoint(ctx, "", id, "DEFAULT"))},
		"updating unknown":  {isolde.CodeNotFound, second(b.UpdateEndpoint(ctx, "", id, "x", EndpointChange{}))},
		"deleting unknown":  {isolde.CodeNotFound, second(b.DeleteEndpoint(ctx, "", id, "x"))},
		"unknown runtime's": {isolde.CodeNotFound, second(b.DeleteEndpoint(ctx, "", "no-0123456789", "x"))},
	} {
		wantCode(t, what, test.err, test.code)
	}
	for i := range maxEndpoints {
		_, err := b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: isolde.EndpointName(fmt.Sprintf("e%d", i))}, nil)
		if want := i == maxEndpoints-1; (isolde.CodeOf(err) == isolde.CodeQuota) != want {
			t.Fatalf("endpoint %d: %v", i, err)
		}
	}
	b.settle(t, id)
}

func TestEndpointWithoutItsImageFails(t *testing.T) {
	b := newBed(t)
	id := b.create(t, "one")
	b.builder.mu.Lock()
	b.builder.gone["one"] = true
	b.builder.mu.Unlock()
	if _, err := b.CreateEndpoint(t.Context(), "", isolde.Endpoint{Runtime: id, Name: "prod"}, nil); err != nil {
		t.Fatal(err)
	}
	b.settle(t, id)
	e, err := b.Endpoint(t.Context(), id, "prod")
	if err != nil || e.Status != isolde.StatusCreateFailed || e.FailureReason == "" || e.Version != 0 {
		t.Errorf("endpoint = %+v, %v", e, err)
	}
}

func TestUnusedVersionsAreCollected(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	id := b.create(t, "image-1")
	b.startSession(t, id, "s")
	b.update(t, id, "image-2")
	if _, err := b.CreateEndpoint(ctx, "", isolde.Endpoint{Runtime: id, Name: "prod"}, nil); err != nil {
		t.Fatal(err)
	}
	b.settle(t, id)
	for n := 3; n <= 6; n++ {
		b.update(t, id, fmt.Sprintf("image-%d", n))
	}
	b.collects.Wait()
	b.collectImages()
	b.collects.Wait()
	// 1 has a session, 2 an endpoint, 6 is DEFAULT's, 5 was a moment ago.
	if diff := cmp.Diff([]string{"image-1", "image-2", "image-5", "image-6"}, b.builder.kept); diff != "" {
		t.Errorf("images kept (-want +got):\n%s", diff)
	}
	versions, err := b.cfg.Store.Versions(ctx, id, 0, 0)
	var left []isolde.VersionNumber
	for _, v := range versions {
		left = append(left, v.Number)
	}
	if diff := cmp.Diff([]isolde.VersionNumber{6, 5, 2, 1}, left); err != nil || diff != "" {
		t.Errorf("versions: %v (-want +got):\n%s", err, diff)
	}
}
