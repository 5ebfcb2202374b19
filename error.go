package isolde

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Code classifies an [Error]. One table, [codes], maps it to what each kind of
// caller sees.
type Code string

// The codes. Their wire names are the exception names of the AgentCore API
// (botocore's bedrock-agentcore and bedrock-agentcore-control models).
const (
	CodeInvalid       Code = "invalid"        // the request is out of bounds
	CodeMalformed     Code = "malformed"      // the request cannot be parsed
	CodeMismatch      Code = "mismatch"       // a client token was used for another request before
	CodeUnauthorized  Code = "unauthorized"   // no credentials, where a token is needed
	CodeDenied        Code = "denied"         // credentials without the right
	CodeNoCredentials Code = "no_credentials" // no credentials, where a signature is needed
	CodeUnknownKey    Code = "unknown_key"    // a signature with an access key that the server does not know
	CodeSignature     Code = "bad_signature"  // a signature that does not match, or is of another time, region or service
	CodeNotFound      Code = "not_found"      // no such runtime, endpoint, version or session
	CodeConflict      Code = "conflict"       // the state of the resource forbids it
	CodeQuota         Code = "quota_exceeded" // a limit on how much may exist
	CodeThrottled     Code = "throttled"      // a limit on how much may happen at once
	CodeAgent         Code = "agent_error"    // the agent failed: did not start, answered an error, broke off
	CodeInternal      Code = "internal"       // a fault of Isolde or its machine
	CodeUnavailable   Code = "unavailable"    // the server is draining or cannot be reached
	CodeUnsupported   Code = "unsupported"    // this machine or driver lacks what is needed
	CodeNotConfigured Code = "not_configured" // a command lacks something the user must set up first
)

type codeInfo struct {
	status    int    // HTTP status
	exception string // value of the X-Amzn-ErrorType header
	exit      int    // exit code of the isolde command
	reason    string // of a ValidationException, which must have one
}

var codes = map[Code]codeInfo{
	CodeInvalid:       {http.StatusBadRequest, "ValidationException", 2, "FieldValidationFailed"},
	CodeMalformed:     {http.StatusBadRequest, "ValidationException", 2, "CannotParse"},
	CodeMismatch:      {http.StatusBadRequest, "ValidationException", 2, "IdempotentParameterMismatchException"},
	CodeUnauthorized:  {http.StatusUnauthorized, "UnauthorizedException", 3, ""},
	CodeDenied:        {http.StatusForbidden, "AccessDeniedException", 3, ""},
	CodeNoCredentials: {http.StatusForbidden, "MissingAuthenticationTokenException", 3, ""},
	CodeUnknownKey:    {http.StatusForbidden, "UnrecognizedClientException", 3, ""},
	CodeSignature:     {http.StatusForbidden, "InvalidSignatureException", 3, ""}, // SDKs correct their clock after it
	CodeNotFound:      {http.StatusNotFound, "ResourceNotFoundException", 4, ""},
	CodeConflict:      {http.StatusConflict, "ConflictException", 5, ""},
	CodeQuota:         {http.StatusPaymentRequired, "ServiceQuotaExceededException", 6, ""},
	CodeThrottled:     {http.StatusTooManyRequests, "ThrottlingException", 6, ""},
	CodeAgent:         {http.StatusFailedDependency, "RuntimeClientError", 7, ""},
	CodeInternal:      {http.StatusInternalServerError, "InternalServerException", 1, ""},
	CodeUnavailable:   {http.StatusServiceUnavailable, "ServiceUnavailableException", 8, ""},
	CodeUnsupported:   {http.StatusBadRequest, "ValidationException", 9, "FieldValidationFailed"},
	CodeNotConfigured: {http.StatusBadRequest, "ValidationException", 2, "FieldValidationFailed"},
}

// HTTPStatus is the status an HTTP caller gets.
func (c Code) HTTPStatus() int { return c.info().status }

// Exception is the AWS exception name that SDKs turn into a typed error.
func (c Code) Exception() string { return c.info().exception }

// ExitCode is what the isolde command exits with.
func (c Code) ExitCode() int { return c.info().exit }

// Reason is the reason that a ValidationException must name; empty for others.
func (c Code) Reason() string { return c.info().reason }

func (c Code) info() codeInfo {
	if i, ok := codes[c]; ok {
		return i
	}
	return codes[CodeInternal]
}

// Error is the one error type that reaches a caller. Message and Hint are for
// the caller; Err is for the operator's log alone and may hold anything.
type Error struct {
	Code    Code
	Op      string  // what was being done, e.g. "deploy"; may be empty
	Message string  // what is wrong with this input, naming the value
	Hint    string  // what to do about it; may be empty
	Fields  []Field // the fields at fault, with CodeInvalid; may be empty
	Err     error   // the cause; may be nil

	RetryAfter time.Duration // until it is worth trying again, with CodeThrottled; 0: not known
}

// Errorf makes an Error with a formatted message. A %w verb sets Err as well.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithRetryAfter sets RetryAfter and returns e.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// WithCause sets Err and returns e. The cause is logged, never sent.
func (e *Error) WithCause(err error) *Error {
	e.Err = err
	return e
}

// RetryAfterSeconds is RetryAfter as the header of that name has it: whole
// seconds, rounded up.
func (e *Error) RetryAfterSeconds() string {
	return strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10)
}

// Error is the message, then the hint in parentheses.
func (e *Error) Error() string {
	s := e.Message
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns the *Error in err's chain, or one with CodeInternal that
// hides err's text from the caller.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeInternal, Message: "internal error", Hint: "the server's log has the cause", Err: err}
}

// CodeOf is the code of the *Error in err's chain, CodeInternal when there is
// none, and empty for a nil error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}
