package operator

import (
	"net/http"
	"slices"

	"github.com/isolde-run/isolde"
)

// sessions serves a page of the list.
func (h *Handler) sessions(r *http.Request) (any, error) {
	q, err := h.readSessionQuery(r)
	if err != nil {
		return nil, err
	}
	found, next, err := h.page(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := SessionList{Sessions: make([]Session, len(found)), Next: next}
	for i, s := range found {
		out.Sessions[i] = view(s)
	}
	if q.stats {
		h.measure(r.Context(), out.Sessions)
	}
	return out, nil
}

func view(s isolde.Session) Session { return Session{Session: s, AgentName: agentName(s.Runtime)} }

func (h *Handler) session(r *http.Request) (any, error) {
	s, err := h.find(r)
	if err != nil {
		return nil, err
	}
	out := []Session{view(s)}
	if r.URL.Query().Get("stats") == "true" {
		h.measure(r.Context(), out)
	}
	return out[0], nil
}

// find finds one session, running or ended, by the id in the path.
func (h *Handler) find(r *http.Request) (isolde.Session, error) {
	want := isolde.SessionID(r.PathValue("session"))
	id, err := h.agentFilter(r)
	if err != nil {
		return isolde.Session{}, err
	}
	list, err := h.byID(r, id, want)
	if err != nil {
		return isolde.Session{}, err
	}
	switch len(list) {
	case 0:
		return isolde.Session{}, isolde.Errorf(isolde.CodeNotFound, "no session %q", want).WithHint("isolde session ls lists them")
	case 1:
		return list[0], nil
	default:
		return isolde.Session{}, isolde.Errorf(isolde.CodeConflict, "%d agents have a session %q", len(list), want).WithHint("name one with --agent")
	}
}

func (h *Handler) agentFilter(r *http.Request) (isolde.RuntimeID, error) {
	s := r.URL.Query().Get("agent")
	if s == "" {
		return "", nil
	}
	a, err := h.findAgent(r, s)
	return a.ID, err
}

// byID lists the sessions with an id, each as it is now; of the agent runtime,
// or of all if that is empty.
func (h *Handler) byID(r *http.Request, runtime isolde.RuntimeID, id isolde.SessionID) ([]isolde.Session, error) {
	list, err := h.Store.SessionsByID(r.Context(), id)
	if err != nil {
		return nil, err
	}
	for _, s := range h.Sessions.Sessions() { // starting ones have no record yet
		if s.ID == id {
			list = slices.DeleteFunc(list, func(old isolde.Session) bool { return old.Runtime == s.Runtime })
			list = append(list, s)
		}
	}
	return slices.DeleteFunc(list, func(s isolde.Session) bool { return runtime != "" && s.Runtime != runtime }), nil
}

// health asks a session's agent for its health, which is no use of the session.
func (h *Handler) health(r *http.Request) (any, error) {
	s, err := h.find(r)
	if err != nil {
		return nil, err
	}
	out := Health{AgentName: agentName(s.Runtime), Runtime: s.Runtime, Session: s.ID, State: s.State}
	live, err := h.Sessions.Ping(r.Context(), s.Key())
	switch {
	case isolde.CodeOf(err) == isolde.CodeNotFound:
		out.Error = "the session is not running"
		if s.EndReason != "" {
			out.Error += ": it " + s.EndReason
		}
		return out, nil
	case err != nil:
		return nil, err
	}
	out.State, out.Healthy, out.Busy = live.Session.State, live.Healthy, live.Busy
	out.Status, out.Answer, out.Milliseconds = live.Status, live.Body, float64(live.Took.Microseconds())/1000
	if live.Err != nil {
		out.Error = live.Err.Error()
	}
	return out, nil
}

const stoppedByOperator = "was stopped by the operator"

func (h *Handler) stopSession(r *http.Request) (any, error) {
	s, err := h.find(r)
	if err != nil {
		return nil, err
	}
	if err := h.Sessions.Stop(r.Context(), s.Key(), isolde.EndOperator, stoppedByOperator); err != nil {
		return nil, err
	}
	return StopResult{Stopped: []isolde.SessionID{s.ID}}, nil
}

// stopSessions ends all sessions, or those that its query selects.
func (h *Handler) stopSessions(r *http.Request) (any, error) {
	q, err := h.readSessionQuery(r)
	if err != nil {
		return nil, err
	}
	keys, err := h.Sessions.StopAll(r.Context(), isolde.EndOperator, stoppedByOperator, q.matches)
	out := StopResult{Stopped: []isolde.SessionID{}}
	for _, k := range keys {
		out.Stopped = append(out.Stopped, k.Session)
	}
	return out, err
}
