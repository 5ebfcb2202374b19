package operator

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/session"
)

// Handler serves the operator API. All fields are required but Usage.
type Handler struct {
	Catalog  *catalog.Catalog
	Sessions *session.Manager
	Store    isolde.Store
	Locality isolde.Locality
	Info     Info         // but for its Usage
	Usage    func() Usage // may be nil
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
	handle("GET /isolde/v1/info", h.info)
	handle("GET /isolde/v1/agents", h.agents)
	handle("GET /isolde/v1/agents/{agent}", h.agent)
	handle("DELETE /isolde/v1/agents/{agent}", h.deleteAgent)
	mux.HandleFunc("GET /isolde/v1/agents/{agent}/build", h.build)
	handle("GET /isolde/v1/agents/{agent}/endpoints", h.endpoints)
	handle("GET /isolde/v1/agents/{agent}/endpoints/{name}", h.endpoint)
	handle("PUT /isolde/v1/agents/{agent}/endpoints/{name}", h.putEndpoint)
	handle("DELETE /isolde/v1/agents/{agent}/endpoints/{name}", h.deleteEndpoint)
	handle("GET /isolde/v1/sessions", h.sessions)
	mux.HandleFunc("GET /isolde/v1/sessions/watch", h.watch)
	handle("GET /isolde/v1/sessions/{session}", h.session)
	handle("GET /isolde/v1/sessions/{session}/health", h.health)
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

func (h *Handler) info(*http.Request) (any, error) {
	info := h.Info
	if h.Usage != nil {
		info.Usage = h.Usage()
	}
	return info, nil
}

// fail answers with an error. What the caller does not get to know is logged.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.log(r, isolde.AsError(err))
	WriteError(w, err)
}

// WriteError answers with an error in the form of this API.
func WriteError(w http.ResponseWriter, err error) {
	e := isolde.AsError(err)
	w.Header().Set("Content-Type", "application/json")
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", e.RetryAfterSeconds())
	}
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
