package operator

import (
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/session"
)

// Handler serves the operator API. All fields are required.
type Handler struct {
	Catalog  *catalog.Catalog
	Sessions *session.Manager
	Store    isolde.Store
	Locality isolde.Locality
	Info     Info
}

// Register adds the API's routes to a mux.
func (h *Handler) Register(mux *http.ServeMux) {
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				writeError(w, err)
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
	handle("GET /isolde/v1/sessions", h.sessions)
	handle("GET /isolde/v1/sessions/{session}", h.session)
	handle("DELETE /isolde/v1/sessions", h.stopSessions)
	handle("DELETE /isolde/v1/sessions/{session}", h.stopSession)
	mux.HandleFunc("POST /isolde/v1/deployments", h.deploy)
	mux.HandleFunc("GET /isolde/v1/logs", h.logs)
	mux.HandleFunc("/isolde/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, isolde.Errorf(isolde.CodeNotFound, "no operation %s %s", r.Method, r.URL.Path))
	})
}

func writeError(w http.ResponseWriter, err error) {
	e := isolde.AsError(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.HTTPStatus())
	json.NewEncoder(w).Encode(map[string]any{"error": errorBody(e)}) //nolint:errcheck // the caller is gone then
}

func errorBody(err error) *ErrorBody {
	e := isolde.AsError(err)
	return &ErrorBody{Code: e.Code, Message: e.Message, Hint: e.Hint}
}

// deploy streams a deployment's progress. Once the stream has begun the
// status is 200, and an error is its last line.
func (h *Handler) deploy(w http.ResponseWriter, r *http.Request) {
	d, source, err := readDeployment(r)
	if err != nil {
		writeError(w, err)
		return
	}
	out := newLineWriter(w)
	result, err := h.Catalog.Deploy(r.Context(), d.Name, d.Spec, source, func(p image.Progress) { out.write(DeployEvent{Progress: &p}) })
	if err != nil {
		out.write(DeployEvent{Error: errorBody(err)})
		return
	}
	out.write(DeployEvent{Result: &Deployed{
		ARN: h.Locality.RuntimeARN(result.Runtime.ID), ID: result.Runtime.ID, Name: result.Runtime.Name,
		Version: result.Version.Number, Status: result.Version.Status, Created: result.Created, Changed: result.Changed,
	}})
}

func readDeployment(r *http.Request) (d Deployment, source *multipart.Part, err error) {
	form, err := r.MultipartReader()
	if err != nil {
		return d, nil, isolde.Errorf(isolde.CodeInvalid, "a deployment is multipart/form-data with the parts spec and source").WithCause(err)
	}
	part, err := form.NextPart()
	if err != nil || part.FormName() != "spec" {
		return d, nil, isolde.Errorf(isolde.CodeInvalid, "the first part of a deployment must be spec").WithCause(err)
	}
	dec := json.NewDecoder(io.LimitReader(part, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, nil, isolde.Errorf(isolde.CodeInvalid, "the spec of the deployment: %w", err)
	}
	if source, err = form.NextPart(); err != nil || source.FormName() != "source" {
		return d, nil, isolde.Errorf(isolde.CodeInvalid, "the second part of a deployment must be source").WithCause(err)
	}
	return d, source, nil
}

func (h *Handler) agents(r *http.Request) (any, error) {
	rs, err := h.Store.Runtimes(r.Context(), "", 0)
	if err != nil {
		return nil, err
	}
	out := make([]Agent, len(rs))
	for i, a := range rs {
		if out[i], err = h.detail(r, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (h *Handler) agent(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	return h.detail(r, a)
}

// findAgent finds an agent runtime by id, name or ARN.
func (h *Handler) findAgent(r *http.Request, s string) (isolde.AgentRuntime, error) {
	if arn := h.Locality.RuntimeARN(""); strings.HasPrefix(s, arn) {
		s = strings.TrimPrefix(s, arn)
	}
	return h.Store.Runtime(r.Context(), s)
}

func (h *Handler) detail(r *http.Request, a isolde.AgentRuntime) (Agent, error) {
	versions, err1 := h.Store.Versions(r.Context(), a.ID)
	endpoints, err2 := h.Store.Endpoints(r.Context(), a.ID)
	out := Agent{AgentRuntime: a, ARN: h.Locality.RuntimeARN(a.ID), Versions: versions, Endpoints: endpoints}
	for _, s := range h.Sessions.Sessions() {
		if s.Runtime == a.ID {
			out.Sessions++
		}
	}
	return out, errors.Join(err1, err2)
}

func (h *Handler) deleteAgent(r *http.Request) (any, error) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		return nil, err
	}
	_, err = h.Catalog.Delete(r.Context(), string(a.ID))
	return struct{}{}, err
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
	if err := h.Sessions.Stop(r.Context(), s.Key(), stoppedByOperator); err != nil {
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
	keys, err := h.Sessions.StopAll(r.Context(), stoppedByOperator, func(s isolde.Session) bool { return id == "" || s.Runtime == id })
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
