package operator

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/session"
)

// Handler serves the operator API. All fields are required.
type Handler struct {
	Catalog  *catalog.Catalog
	Sessions *session.Manager
	Store    isolde.Store
	Locality isolde.Locality
	Info     Info
	// Backup writes a copy of the server to w, as a tar stream; see
	// [Client.Backup]. It writes nothing before it is as good as certain that
	// it can write all.
	Backup func(ctx context.Context, w io.Writer, databaseOnly bool) error
	Logger *slog.Logger
}

// Register adds the API's routes to a mux.
func (h *Handler) Register(mux *http.ServeMux) {
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				h.fail(w, r, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller is gone then
		})
	}
	handle("GET /isolde/v1/info", func(*http.Request) (any, error) { return h.Info, nil })
	handle("GET /isolde/v1/agents", h.agents)
	handle("GET /isolde/v1/agents/{agent}", h.agent)
	handle("DELETE /isolde/v1/agents/{agent}", h.deleteAgent)
	mux.HandleFunc("GET /isolde/v1/agents/{agent}/build", h.build)
	handle("GET /isolde/v1/agents/{agent}/endpoints", h.endpoints)
	handle("GET /isolde/v1/agents/{agent}/endpoints/{name}", h.endpoint)
	handle("PUT /isolde/v1/agents/{agent}/endpoints/{name}", h.putEndpoint)
	handle("DELETE /isolde/v1/agents/{agent}/endpoints/{name}", h.deleteEndpoint)
	handle("GET /isolde/v1/sessions", h.sessions)
	handle("GET /isolde/v1/sessions/{session}", h.session)
	handle("DELETE /isolde/v1/sessions", h.stopSessions)
	handle("DELETE /isolde/v1/sessions/{session}", h.stopSession)
	mux.HandleFunc("POST /isolde/v1/sessions/{session}/commands", h.runCommand)
	mux.HandleFunc("POST /isolde/v1/deployments", h.deploy)
	mux.HandleFunc("GET /isolde/v1/logs", h.logs)
	mux.HandleFunc("GET /isolde/v1/backup", h.backup)
	mux.HandleFunc("/isolde/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, isolde.Errorf(isolde.CodeNotFound, "no operation %s %s", r.Method, r.URL.Path))
	})
}

// fail answers with an error. What the caller does not get to know is logged.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := isolde.AsError(err)
	h.log(r, e)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.HTTPStatus())
	json.NewEncoder(w).Encode(map[string]any{"error": errorBody(e)}) //nolint:errcheck // the caller is gone then
}

// log logs the cause of an internal error, unless it is that the caller left.
func (h *Handler) log(r *http.Request, e *isolde.Error) {
	if e.Code == isolde.CodeInternal && e.Err != nil && r.Context().Err() == nil {
		h.Logger.Error("operator request failed", "method", r.Method, "path", r.URL.Path, "err", e.Err)
	}
}

func errorBody(err error) *ErrorBody {
	e := isolde.AsError(err)
	return &ErrorBody{Code: e.Code, Message: e.Message, Hint: e.Hint}
}

// maxEnded bounds how many ended sessions a list shows, the newest ones.
const maxEnded = 1000

// list returns sessions, running ones first and as they are now, then the
// newest that ended, at most that many; of the agent runtime, or of all if id
// is empty.
func (h *Handler) list(r *http.Request, id isolde.RuntimeID, ended int) ([]isolde.Session, error) {
	running := h.Sessions.Sessions()
	slices.Reverse(running) // newest first
	seen := make(map[isolde.SessionKey]bool, len(running))
	var out []isolde.Session
	for _, s := range running {
		seen[s.Key()] = true
		if id == "" || s.Runtime == id {
			out = append(out, s)
		}
	}
	if ended == 0 {
		return out, nil
	}
	records, err := h.Store.Sessions(r.Context(), id, true, ended+len(seen))
	for _, s := range records {
		if !seen[s.Key()] && ended > 0 {
			ended--
			out = append(out, s)
		}
	}
	return out, err
}

func (h *Handler) agentFilter(r *http.Request) (isolde.RuntimeID, error) {
	s := r.URL.Query().Get("agent")
	if s == "" {
		return "", nil
	}
	a, err := h.findAgent(r, s)
	return a.ID, err
}

func (h *Handler) sessions(r *http.Request) (any, error) {
	id, err := h.agentFilter(r)
	if err != nil {
		return nil, err
	}
	ended := 0
	if r.URL.Query().Get("all") == "true" {
		ended = maxEnded
	}
	list, err := h.list(r, id, ended)
	if err != nil {
		return nil, err
	}
	out := SessionList{Sessions: make([]Session, len(list))}
	for i, s := range list {
		out.Sessions[i] = h.withStats(r, s)
	}
	return out, nil
}

func (h *Handler) withStats(r *http.Request, s isolde.Session) Session {
	name, _, _ := strings.Cut(string(s.Runtime), "-")
	out := Session{Session: s, AgentName: name}
	if s.State == isolde.SessionActive || s.State == isolde.SessionIdle {
		if st, err := h.Sessions.Stats(r.Context(), s.Key()); err == nil {
			out.CPUSeconds, out.MemoryBytes = st.CPU.Seconds(), st.MemoryBytes
		}
	}
	return out
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

func (h *Handler) session(r *http.Request) (any, error) {
	s, err := h.find(r)
	if err != nil {
		return nil, err
	}
	return h.withStats(r, s), nil
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

// stopSessions ends all sessions, or those of an agent.
func (h *Handler) stopSessions(r *http.Request) (any, error) {
	id, err := h.agentFilter(r)
	if err != nil {
		return nil, err
	}
	keys, err := h.Sessions.StopAll(r.Context(), isolde.EndOperator, stoppedByOperator, func(s isolde.Session) bool { return id == "" || s.Runtime == id })
	out := StopResult{Stopped: []isolde.SessionID{}}
	for _, k := range keys {
		out.Stopped = append(out.Stopped, k.Session)
	}
	return out, err
}

// lineWriter writes JSON lines, each flushed at once.
type lineWriter struct {
	enc *json.Encoder
	rc  *http.ResponseController
}

func newLineWriter(w http.ResponseWriter) *lineWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex() // HTTP/2 has it anyway
	return &lineWriter{json.NewEncoder(w), rc}
}

func (l *lineWriter) write(v any) {
	if l.enc.Encode(v) == nil {
		_ = l.rc.Flush() // the request's context ends when the caller is gone
	}
}
