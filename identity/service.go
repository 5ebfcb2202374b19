// Package identity answers the calls to STS and IAM that deploy scripts make.
// It remembers roles and policies and gives them back. They are not enforced:
// a role grants nothing. Credentials that STS hands out are, at a server that
// asks for keys, temporary keys with the rights of whoever asked, and elsewhere as good
// as any others. docs/AWS-SERVICES.md lists what is offered.
package identity

import (
	"cmp"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// Config says where roles and policies are kept, and whose they are.
type Config struct {
	// File is the JSON file that holds them; it need not exist, its folder must.
	File string
	// Account is the account in ARNs; empty means 000000000000.
	Account string
	// Keys make the credentials that STS hands out, for the callers in the
	// contexts of requests; see [auth.NewContext]. Nil: they are made up.
	Keys *auth.Keys
	// Logger gets what no caller needs to see; nil discards.
	Logger *slog.Logger
}

// Service is STS and IAM. Safe for concurrent use.
type Service struct {
	file    string
	account string
	keys    *auth.Keys
	log     *slog.Logger

	mu    sync.RWMutex
	state state // never changed in place, see change
}

// Open reads cfg.File. A file that cannot be read as what it should be is an
// error: it is not replaced.
func Open(cfg Config) (*Service, error) {
	s := &Service{file: cfg.File, account: cmp.Or(cfg.Account, "000000000000"), keys: cfg.Keys, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open identity service: %w", err)
	}
	return s, nil
}

// Handler serves both services' query protocol: POST / with a form that has
// Action and its parameters. Answers and errors are XML, as AWS's.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// params are what a call has: the fields of its form, and who sent it.
type params struct {
	url.Values
	caller *auth.Identity // nil: nobody was asked
}

// action answers one call, with the members of its result.
type action func(s *Service, form params) (result any, err error)

// service is one of the two, by the XML namespace of its answers.
type service struct {
	name      string
	namespace string
	actions   map[string]action
}

var services = map[string]service{
	"sts": {"STS", "https://sts.amazonaws.com/doc/2011-06-15/", stsActions},
	"iam": {"IAM", "https://iam.amazonaws.com/doc/2010-05-08/", iamActions},
}

// maxForm bounds a request; the longest document that IAM takes has 131,072 characters.
const maxForm = 1 << 20

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	id := newRequestID()
	service, ok := services[SignedFor(r)]
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	formErr := r.ParseForm()
	if !ok { // not signed: the actions of both have different names
		service = services["iam"]
		if _, isSTS := stsActions[r.Form.Get("Action")]; isSTS {
			service = services["sts"]
		}
	}
	result, err := s.call(service, r, formErr)
	if err != nil {
		f := asFault(err)
		if f.status >= http.StatusInternalServerError {
			s.log.Error("identity request failed", "request", id, "action", r.Form.Get("Action"), "error", err)
		}
		f.write(w, service.namespace, id)
		return
	}
	writeResult(w, service.namespace, r.Form.Get("Action"), result, id)
}

func (s *Service) call(service service, r *http.Request, formErr error) (any, error) {
	if formErr != nil {
		return nil, faultf(codeMalformed, "the request is not a form of at most %d bytes: %v", maxForm, formErr)
	}
	name := r.Form.Get("Action")
	act, ok := service.actions[name]
	if !ok {
		offered := slices.Sorted(maps.Keys(service.actions))
		return nil, faultf(codeInvalidAction, "Isolde's %s does not offer the action %q; it offers %s", service.name, name, strings.Join(offered, ", "))
	}
	p := params{Values: r.Form}
	if caller, ok := auth.FromContext(r.Context()); ok {
		p.caller = &caller
	}
	return act(s, p)
}

// fault is an answer that is an error.
type fault struct {
	code    string
	status  int
	message string
}

// The codes of IAM and STS, which SDKs turn into exceptions.
const (
	codeExists         = "EntityAlreadyExists"
	codeNotFound       = "NoSuchEntity"
	codeMalformedDoc   = "MalformedPolicyDocument"
	codeDeleteConflict = "DeleteConflict"
	codeLimit          = "LimitExceeded"
	codeValidation     = "ValidationError"
	codeInvalidAction  = "InvalidAction"
	codeMalformed      = "MalformedQueryString"
	codeInternal       = "ServiceFailure"
)

var statuses = map[string]int{
	codeExists: http.StatusConflict, codeNotFound: http.StatusNotFound, codeDeleteConflict: http.StatusConflict,
	codeLimit: http.StatusConflict, codeInternal: http.StatusInternalServerError,
}

func faultf(code, format string, args ...any) *fault {
	return &fault{code, cmp.Or(statuses[code], http.StatusBadRequest), fmt.Sprintf(format, args...)}
}

func (f *fault) Error() string { return f.code + ": " + f.message }

func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return faultf(codeInternal, "internal error; the server's log has the cause")
}

// Refuse answers a request that was not let through, in the form that clients
// of the service it is signed for read.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := isolde.AsError(err)
	code, ok := map[isolde.Code]string{
		isolde.CodeUnknownKey: "InvalidClientTokenId", isolde.CodeSignature: "SignatureDoesNotMatch", isolde.CodeDenied: "AccessDenied",
		isolde.CodeNoCredentials: "MissingAuthenticationToken", isolde.CodeMalformed: "IncompleteSignature", isolde.CodeThrottled: "Throttling",
	}[e.Code]
	if !ok {
		code = codeInternal
	}
	(&fault{code, e.Code.HTTPStatus(), e.Error()}).write(w, services[SignedFor(r)].namespace, newRequestID())
}

func (f *fault) write(w http.ResponseWriter, namespace, id string) {
	kind := "Sender"
	if f.status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	type body struct{ Type, Code, Message string }
	writeXML(w, f.status, struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Xmlns     string   `xml:"xmlns,attr"`
		Error     body
		RequestID string `xml:"RequestId"`
	}{Xmlns: namespace, Error: body{kind, f.code, f.message}, RequestID: id})
}

// writeResult wraps a result as the query protocol has it: the action's name
// is that of the elements. nil is an action without a result.
func writeResult(w http.ResponseWriter, namespace, action string, result any, id string) {
	type metadata struct {
		RequestID string `xml:"RequestId"`
	}
	doc := struct {
		XMLName  xml.Name
		Xmlns    string   `xml:"xmlns,attr"`
		Result   *members `xml:",omitempty"`
		Metadata metadata `xml:"ResponseMetadata"`
	}{XMLName: xml.Name{Local: action + "Response"}, Xmlns: namespace, Metadata: metadata{id}}
	if result != nil {
		doc.Result = &members{action + "Result", result}
	}
	writeXML(w, http.StatusOK, doc)
}

// members is a result under the name of its element.
type members struct {
	name   string
	result any
}

// MarshalXML writes the result under the name.
func (m *members) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(m.result, xml.StartElement{Name: xml.Name{Local: m.name}})
}

func writeXML(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	if err := xml.NewEncoder(w).Encode(doc); err != nil {
		return // the caller is gone
	}
}

// newRequestID is a random UUID, as AWS's request ids are.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
