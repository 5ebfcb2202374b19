package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"net/http"
	"reflect"
	"runtime/debug"
)

// Error is an error with a status of HTTP: a [Handler] that returns one, or
// wraps one, answers with that status and {"error": Message}. Any other error
// is answered with 500.
//
// On AgentCore and on Isolde the caller of the API sees 424 RuntimeClientError
// either way; the status and the message are in the session's log.
type Error struct {
	Status  int // of HTTP, 400 to 599
	Message string
	Err     error // the cause, or nil: it is logged and not answered
}

// Errorf returns an [*Error]. What %w wraps becomes its cause.
func Errorf(status int, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Status: status, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// payloadError is a payload that is not what the handler takes. Its two texts
// are the members of the answer.
type payloadError struct {
	kind string // one of those below
	err  error
}

// The kinds of a payloadError, in the words of the official SDKs.
const (
	kindJSON     = "Invalid JSON"
	kindEncoding = "Invalid encoding"
	kindFormat   = "Invalid request body format"
)

func (e *payloadError) Error() string { return e.kind + ": " + e.err.Error() }
func (e *payloadError) Unwrap() error { return e.err }

// panicError is a panic of the agent's code.
type panicError struct {
	value any
	stack []byte
}

// recovered is deferred; it makes a panic an error.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &panicError{v, debug.Stack()}
	}
}

func (e *panicError) Error() string { return fmt.Sprint("panic: ", e.value) }

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// errorAnswer is what an error before any output is answered with. Its JSON
// is compact, as the Python SDK's is for errors alone.
func errorAnswer(err error) (status int, body []byte) {
	answer := struct {
		Error   string `json:"error"`
		Details string `json:"details,omitempty"`
	}{Error: err.Error()}
	status = http.StatusInternalServerError
	var coded *Error
	var payload *payloadError
	switch {
	case errors.As(err, &coded) && coded.Status >= 400 && coded.Status <= 599:
		status, answer.Error = coded.Status, coded.Message
	case errors.As(err, &payload):
		status, answer.Error, answer.Details = http.StatusBadRequest, payload.kind, payload.err.Error()
	}
	body, _ = json.Marshal(answer) // two strings
	return status, plain(body)
}

// errorEvent is what an error within a stream is told with: the members of
// the Python SDK's event, in their order.
type errorEvent struct {
	Error     string `json:"error"`
	ErrorType string `json:"error_type"`
	Message   string `json:"message"`
}

func newErrorEvent(err error) errorEvent {
	return errorEvent{err.Error(), errorType(err), "An error occurred during streaming"}
}

// errorType names an error by the first type of its chain that is exported,
// as *fs.PathError is by "PathError": errors.New and fmt.Errorf make values of
// types that mean nothing, which are an "Error".
func errorType(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if _, ok := err.(*panicError); ok { //nolint:errorlint // of this link of the chain
			return "Panic"
		}
		t := reflect.TypeOf(err)
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if name := t.Name(); token.IsExported(name) {
			return name
		}
	}
	return "Error"
}
