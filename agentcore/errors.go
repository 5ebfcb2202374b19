package agentcore

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/isolde-run/isolde"
)

// writeError answers with an error in the form all AWS SDKs read: the
// exception in the X-Amzn-ErrorType header, the message as JSON.
func writeError(w http.ResponseWriter, err error) {
	e := isolde.AsError(err)
	nameError(w, e)
	writeJSON(w, e.Code.HTTPStatus(), errorBody{Message: e.Error(), Hint: e.Hint, Reason: e.Code.Reason(), Fields: e.Fields})
}

// nameError sets the headers of an error, which are the same in all protocols.
func nameError(w http.ResponseWriter, e *isolde.Error) {
	w.Header().Set("X-Amzn-ErrorType", e.Code.Exception())
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", e.RetryAfterSeconds())
	}
}

type errorBody struct {
	Message string         `json:"message"` // with the hint, since SDKs show nothing else
	Hint    string         `json:"hint,omitempty"`
	Reason  string         `json:"reason,omitempty"` // required in a ValidationException
	Fields  []isolde.Field `json:"fieldList,omitempty"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller is gone then
}

// noOperation answers what no operation is for. Clients of the API parse
// errors as JSON, those of unknown paths and methods too.
func noOperation(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(HeaderRequestID, newRequestID())
	if strings.HasPrefix(r.URL.Path, "/runtimes/") && strings.HasSuffix(r.URL.Path, "/invocations") {
		postOnly(w, r)
		return
	}
	writeError(w, isolde.Errorf(isolde.CodeNotFound, "no operation %s %s", r.Method, shorten(r.URL.Path)).
		WithHint("docs/COMPATIBILITY.md lists what is offered"))
}
