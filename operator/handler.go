package operator

import (
	"context"
	_ "embed" // of the description
	"encoding/json"
	"io"
	"log/slog"
	"net/http"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
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

// description is the API's OpenAPI document, which the tests hold it to.
//
//go:embed openapi.yaml
var description []byte

// Register adds the API's routes to a mux.
func (h *Handler) Register(mux *http.ServeMux) {
	for pattern, handle := range h.routes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			handle(w, r.WithContext(auth.Unbound(r.Context()))) // the operator enters every session
		})
	}
	mux.HandleFunc("/isolde/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, isolde.Errorf(isolde.CodeNotFound, "no operation %s %s", r.Method, r.URL.Path).
			WithHint("GET /isolde/v1/openapi.yaml describes those there are"))
	})
}

func (h *Handler) info(*http.Request) (any, error) {
	info := h.Info
	if h.Usage != nil {
		info.Usage = h.Usage()
	}
	return info, nil
}

// routes are the operations by their patterns; openapi.yaml has the same.
func (h *Handler) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /isolde/v1/info":                               h.json(h.info),
		"GET /isolde/v1/openapi.yaml":                       describe,
		"GET /isolde/v1/agents":                             h.json(h.agents),
		"GET /isolde/v1/agents/{agent}":                     h.json(h.agent),
		"DELETE /isolde/v1/agents/{agent}":                  h.json(h.deleteAgent),
		"GET /isolde/v1/agents/{agent}/build":               h.build,
		"GET /isolde/v1/agents/{agent}/endpoints":           h.json(h.endpoints),
		"GET /isolde/v1/agents/{agent}/endpoints/{name}":    h.json(h.endpoint),
		"PUT /isolde/v1/agents/{agent}/endpoints/{name}":    h.json(h.putEndpoint),
		"DELETE /isolde/v1/agents/{agent}/endpoints/{name}": h.json(h.deleteEndpoint),
		"GET /isolde/v1/sessions":                           h.json(h.sessions),
		"DELETE /isolde/v1/sessions":                        h.json(h.stopSessions),
		"GET /isolde/v1/sessions/watch":                     h.watch,
		"GET /isolde/v1/sessions/{session}":                 h.json(h.session),
		"DELETE /isolde/v1/sessions/{session}":              h.json(h.stopSession),
		"GET /isolde/v1/sessions/{session}/health":          h.json(h.health),
		"POST /isolde/v1/sessions/{session}/commands":       h.runCommand,
		"GET /isolde/v1/storage":                            h.json(h.storage),
		"DELETE /isolde/v1/storage":                         h.json(h.removeStorages),
		"DELETE /isolde/v1/storage/{session}":               h.json(h.removeStorage),
		"GET /isolde/v1/sessions/{session}/files":           h.readFiles,
		"PUT /isolde/v1/sessions/{session}/files":           h.json(h.writeFiles),
		"POST /isolde/v1/deployments":                       h.deploy,
		"GET /isolde/v1/logs":                               h.logs,
		"GET /isolde/v1/backup":                             h.backup,
	}
}

// json answers with what f returns.
func (h *Handler) json(f func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller is gone then
	}
}

func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(description)
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
