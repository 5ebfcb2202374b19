package operator

import (
	"errors"
	"net/http"
	"strings"

	"github.com/isolde-run/isolde"
)

func (h *Handler) agents(r *http.Request) (any, error) {
	rs, err := h.Store.Runtimes(r.Context(), "", 0)
	if err != nil {
		return nil, err
	}
	running := h.countRunning()
	out := make([]Agent, len(rs))
	for i, a := range rs {
		out[i] = Agent{AgentRuntime: a, ARN: h.Locality.RuntimeARN(a.ID), Sessions: running[a.ID]}
	}
	return out, nil
}

func (h *Handler) agent(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	versions, err1 := h.Store.Versions(r.Context(), a.ID, 0, 0)
	endpoints, err2 := h.Store.Endpoints(r.Context(), a.ID)
	return Agent{
		AgentRuntime: a, ARN: h.Locality.RuntimeARN(a.ID), Sessions: h.countRunning()[a.ID],
		Versions: versions, Endpoints: endpoints,
	}, errors.Join(err1, err2)
}

// countRunning counts the running sessions of each agent runtime.
func (h *Handler) countRunning() map[isolde.RuntimeID]int {
	n := make(map[isolde.RuntimeID]int)
	for _, s := range h.Sessions.Sessions() {
		n[s.Runtime]++
	}
	return n
}

// agentName is the name of an agent runtime, with which its id begins.
func agentName(id isolde.RuntimeID) string {
	name, _, _ := strings.Cut(string(id), "-")
	return name
}

// findAgent finds an agent runtime by id, name or ARN.
func (h *Handler) findAgent(r *http.Request, s string) (isolde.AgentRuntime, error) {
	return h.Store.Runtime(r.Context(), strings.TrimPrefix(s, h.Locality.RuntimeARN("")))
}

func (h *Handler) deleteAgent(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	_, err = h.Catalog.Remove(r.Context(), string(a.ID))
	return struct{}{}, err
}
