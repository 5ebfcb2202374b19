package operator

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
)

// settleEvery is how often an endpoint that changes is looked at. Pointing one
// at another version takes a few milliseconds.
const settleEvery = 10 * time.Millisecond

func (h *Handler) endpoints(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	all, err := h.Store.Endpoints(r.Context(), a.ID)
	return EndpointList{Endpoints: all}, err
}

func (h *Handler) endpoint(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	return h.Catalog.Endpoint(r.Context(), a.ID, isolde.EndpointName(r.PathValue("name")))
}

// putEndpoint makes or changes an endpoint and waits for that.
func (h *Handler) putEndpoint(r *http.Request) (any, error) {
	var change EndpointChange
	dec := json.NewDecoder(io.LimitReader(r.Body, maxDocument))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&change); err != nil {
		return nil, isolde.Errorf(isolde.CodeMalformed, "the change of an endpoint: %w", err)
	}
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	name := isolde.EndpointName(r.PathValue("name"))
	_, err = h.Catalog.Endpoint(r.Context(), a.ID, name)
	switch {
	case isolde.CodeOf(err) == isolde.CodeNotFound:
		e := isolde.Endpoint{Runtime: a.ID, Name: name, Target: change.Version}
		if change.Description != nil {
			e.Description = *change.Description
		}
		_, err = h.Catalog.CreateEndpoint(r.Context(), "", e, nil)
	case err == nil:
		c := catalog.EndpointChange{Description: change.Description}
		if change.Version != 0 {
			c.Target = &change.Version
		}
		_, err = h.Catalog.UpdateEndpoint(r.Context(), "", a.ID, name, c)
	}
	if err != nil {
		return nil, err
	}
	return h.settled(r.Context(), a.ID, name)
}

func (h *Handler) deleteEndpoint(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	name := isolde.EndpointName(r.PathValue("name"))
	if _, err := h.Catalog.DeleteEndpoint(r.Context(), "", a.ID, name); err != nil {
		return nil, err
	}
	e, err := h.settled(r.Context(), a.ID, name)
	switch {
	case isolde.CodeOf(err) == isolde.CodeNotFound:
		err = nil
	case err == nil:
		err = isolde.Errorf(isolde.CodeConflict, "endpoint %s of agent runtime %s is there again: %s", name, a.ID, e.Status)
	}
	return struct{}{}, err
}

// settled is an endpoint as soon as nothing is under way with it.
func (h *Handler) settled(ctx context.Context, id isolde.RuntimeID, name isolde.EndpointName) (isolde.Endpoint, error) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		e, err := h.Catalog.Endpoint(ctx, id, name)
		if err != nil || e.Status.Final() {
			return e, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return e, context.Cause(ctx)
		}
	}
}
