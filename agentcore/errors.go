package agentcore

import (
	"encoding/json"
	"net/http"

	"github.com/isolde-run/isolde"
)

// writeError answers with an error in the form all AWS SDKs read: the
// exception in the X-Amzn-ErrorType header, the message as JSON.
func writeError(w http.ResponseWriter, err error) {
	e := isolde.AsError(err)
	body := errorBody{Message: e.Error(), Hint: e.Hint}
	if e.Code.Exception() == "ValidationException" {
		body.Reason = "FieldValidationFailed"
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Amzn-ErrorType", e.Code.Exception())
	w.WriteHeader(e.Code.HTTPStatus())
	json.NewEncoder(w).Encode(body) //nolint:errcheck // the caller is gone then
}

type errorBody struct {
	Message string `json:"message"` // with the hint, since SDKs show nothing else
	Hint    string `json:"hint,omitempty"`
	Reason  string `json:"reason,omitempty"` // required in a ValidationException
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller is gone then
}
