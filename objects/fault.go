package objects

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"github.com/johannesboyne/gofakes3"

	"github.com/isolde-run/isolde"
)

// Codes of S3's that gofakes3 does not know, and two of our own: SDKs retry
// S3's codes for a lack of resources, which would not help here.
const (
	codeTooLarge    gofakes3.ErrorCode = "EntityTooLarge"
	codeTooSmall    gofakes3.ErrorCode = "EntityTooSmall"
	codeOwned       gofakes3.ErrorCode = "BucketAlreadyOwnedByYou"
	codeHashDiffers gofakes3.ErrorCode = "XAmzContentSHA256Mismatch"
	codeQuota       gofakes3.ErrorCode = "QuotaExceeded"
	codeDiskFull    gofakes3.ErrorCode = "StorageFull"
)

var statuses = map[gofakes3.ErrorCode]int{
	codeTooLarge:    http.StatusBadRequest,
	codeTooSmall:    http.StatusBadRequest,
	codeOwned:       http.StatusConflict,
	codeHashDiffers: http.StatusBadRequest,
	codeQuota:       http.StatusInsufficientStorage,
	codeDiskFull:    http.StatusInsufficientStorage,

	gofakes3.ErrMethodNotAllowed: http.StatusMethodNotAllowed,
}

// fault is an answer of S3's that is an error.
type fault struct {
	code    gofakes3.ErrorCode
	status  int
	message string
	cause   error
}

func faultf(code gofakes3.ErrorCode, format string, args ...any) *fault {
	f := &fault{code: code, status: statuses[code], message: fmt.Sprintf(format, args...)}
	if f.status == 0 {
		f.status = code.Status()
	}
	return f
}

func (f *fault) because(err error) *fault { f.cause = err; return f }

func (f *fault) Error() string { return string(f.code) + ": " + f.message }
func (f *fault) Unwrap() error { return f.cause }

// Refuse answers a request that was not let through, as S3 does.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := isolde.AsError(err)
	code, ok := map[isolde.Code]gofakes3.ErrorCode{
		isolde.CodeUnknownKey: "InvalidAccessKeyId", isolde.CodeSignature: "SignatureDoesNotMatch", isolde.CodeMalformed: "AuthorizationHeaderMalformed",
		isolde.CodeThrottled: "SlowDown", isolde.CodeDenied: "AccessDenied", isolde.CodeNoCredentials: "AccessDenied",
	}[e.Code]
	if !ok {
		code = gofakes3.ErrInternal
	}
	(&fault{code: code, status: e.Code.HTTPStatus(), message: e.Error()}).write(w, r, newID())
}

// asFault is the fault in err's chain, gofakes3's own error as one, or one that
// hides err from the caller.
func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if code, ok := errors.AsType[gofakes3.ErrorCode](err); ok && code != gofakes3.ErrInternal {
		return faultf(code, "the body is not what its headers say")
	}
	return faultf(gofakes3.ErrInternal, "internal error; the server's log has the cause").because(err)
}

// write answers with the fault, as S3 does.
func (f *fault) write(w http.ResponseWriter, r *http.Request, requestID string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Del("Content-Length")
	w.WriteHeader(f.status)
	if r.Method == http.MethodHead {
		return
	}
	writeXML(w, struct {
		XMLName   xml.Name `xml:"Error"`
		Code      gofakes3.ErrorCode
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: f.code, Message: f.message, Resource: r.URL.Path, RequestID: requestID})
}

// writeXML writes a document. The client is gone if it fails.
func writeXML(w http.ResponseWriter, doc any) {
	if _, err := w.Write([]byte(xml.Header)); err == nil {
		_ = xml.NewEncoder(w).Encode(doc)
	}
}
