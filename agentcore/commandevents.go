package agentcore

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/session"
)

// maxEvent bounds the JSON of one event, in bytes: AgentCore's 64 KB a chunk.
const maxEvent = 64 << 10

// commandEvents writes the event stream of a command: contentStart,
// contentDelta for what it prints, each flushed at once, and contentStop, or
// an exception in its place.
type commandEvents struct {
	stdout, stderr commandOutput

	mu     sync.Mutex // of all below
	w      http.ResponseWriter
	rc     *http.ResponseController
	enc    *eventstream.Encoder
	total  int  // bytes of output so far
	closed bool // nothing may be written any more: the handler returns
}

// commandOutput is one of the two outputs. Events hold text, so what is not
// UTF-8 is replaced, and a character whose bytes are not all there yet waits
// for the others.
type commandOutput struct {
	events *commandEvents
	name   string
	rest   []byte // the beginning of a character
}

func newCommandEvents(w http.ResponseWriter) *commandEvents {
	e := &commandEvents{w: w, rc: http.NewResponseController(w), enc: eventstream.NewEncoder()}
	e.stdout = commandOutput{events: e, name: "stdout"}
	e.stderr = commandOutput{events: e, name: "stderr"}
	return e
}

// start sends the answer's header and the first event.
func (e *commandEvents) start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	e.w.WriteHeader(http.StatusOK)
	return e.chunk("contentStart", struct{}{})
}

// write implements [sandbox.WriteFunc].
func (o *commandOutput) write(p []byte) error {
	e := o.events
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("the command is over")
	}
	if e.total += len(p); e.total > session.MaxCommandOutput {
		return isolde.Errorf(isolde.CodeQuota, "the command printed more than %d bytes, the most allowed", session.MaxCommandOutput).
			WithHint("it was ended; write large results to a file of the session")
	}
	text := append(o.rest, p...)
	whole := len(text) - partial(text)
	o.rest = bytes.Clone(text[whole:])
	return o.delta(strings.ToValidUTF8(string(text[:whole]), "\uFFFD"))
}

// delta sends text, in as many events as it needs.
func (o *commandOutput) delta(text string) error {
	if text == "" {
		return nil
	}
	if len(text) <= maxEvent {
		payload, err := encode(map[string]any{"contentDelta": map[string]string{o.name: text}})
		if err != nil {
			return err
		}
		if len(payload) <= maxEvent {
			return o.events.event(payload)
		}
	}
	half := len(text) / 2
	for !utf8.RuneStart(text[half]) {
		half++
	}
	if err := o.delta(text[:half]); err != nil {
		return err
	}
	return o.delta(text[half:])
}

// partial is how many bytes at the end of a text begin a character that is
// not whole.
func partial(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if end := text[len(text)-n:]; utf8.RuneStart(end[0]) {
			if utf8.FullRune(end) {
				return 0
			}
			return n
		}
	}
	return 0
}

// close ends the writing of output, and sends characters that stayed in parts.
func (e *commandEvents) close() error {
	e.closed = true
	for _, o := range []*commandOutput{&e.stdout, &e.stderr} {
		if len(o.rest) > 0 {
			if err := o.delta("\uFFFD"); err != nil {
				return err
			}
		}
	}
	return nil
}

// stop sends how the command ended. Errors of the client's connection are
// dropped here and in fail: nobody is left to tell.
func (e *commandEvents) stop(end session.CommandEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.close() != nil {
		return
	}
	status := "COMPLETED"
	if end.TimedOut {
		status = "TIMED_OUT"
	}
	_ = e.chunk("contentStop", map[string]any{"exitCode": end.ExitCode, "status": status})
}

// streamExceptions are the errors that the stream's union has.
var streamExceptions = map[string]string{
	"AccessDeniedException":         "accessDeniedException",
	"ResourceNotFoundException":     "resourceNotFoundException",
	"ServiceQuotaExceededException": "serviceQuotaExceededException",
	"ThrottlingException":           "throttlingException",
	"ValidationException":           "validationException",
	"RuntimeClientError":            "runtimeClientError",
}

// fail sends an exception as the last event.
func (e *commandEvents) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.close() != nil {
		return
	}
	failure := isolde.AsError(err)
	name, ok := streamExceptions[failure.Code.Exception()]
	if !ok {
		name = "internalServerException"
	}
	payload, err := encode(errorBody{Message: failure.Error(), Hint: failure.Hint, Reason: failure.Code.Reason(), Fields: failure.Fields})
	if err == nil {
		_ = e.message(payload, eventstreamapi.ExceptionMessageType, eventstreamapi.ExceptionTypeHeader, name)
	}
}

func (e *commandEvents) chunk(member string, v any) error {
	payload, err := encode(map[string]any{member: v})
	if err != nil {
		return err
	}
	return e.event(payload)
}

func (e *commandEvents) event(payload []byte) error {
	return e.message(payload, eventstreamapi.EventMessageType, eventstreamapi.EventTypeHeader, "chunk")
}

// message writes one message of the stream and flushes it.
func (e *commandEvents) message(payload []byte, kind, typeHeader, name string) error {
	var m eventstream.Message
	m.Headers.Set(eventstreamapi.MessageTypeHeader, eventstream.StringValue(kind))
	m.Headers.Set(typeHeader, eventstream.StringValue(name))
	m.Headers.Set(eventstreamapi.ContentTypeHeader, eventstream.StringValue("application/json"))
	m.Payload = payload
	if err := e.enc.Encode(e.w, m); err != nil {
		return err
	}
	return e.rc.Flush()
}

// encode makes JSON of a value as short as it can be.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
