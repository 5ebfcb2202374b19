package agentcore

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/session"
)

// commandRequest is the body of InvokeAgentRuntimeCommand.
type commandRequest struct {
	Command string `json:"command"`
	Timeout *int   `json:"timeout,omitempty"` // seconds
}

func (c *commandRequest) check(p *isolde.Problems) {
	if n := utf8.RuneCountInString(c.Command); n > session.MaxCommand {
		p.Add("command", "must have at most %d characters; it has %d", session.MaxCommand, n)
	}
	if strings.ContainsRune(c.Command, 0) {
		p.Add("command", "must not have a NUL character")
	}
	if most := int(session.MaxCommandTimeout.Seconds()); c.Timeout != nil && (*c.Timeout < 1 || *c.Timeout > most) {
		p.Add("timeout", "must be 1 to %d seconds, not %d", most, *c.Timeout)
	}
}

// command serves InvokeAgentRuntimeCommand. Like an invocation, a command with
// the id of a session that does not run starts it.
func (h *Handler) command(w http.ResponseWriter, r *http.Request) {
	request := newRequestID()
	w.Header().Set(HeaderRequestID, request)
	id, err := sessionID(r)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set(HeaderSession, string(id))
	body, err := h.readCommand(r)
	if err != nil {
		writeError(w, err)
		return
	}
	lease, err := h.enter(r, id, h.Sessions.Acquire)
	if err != nil {
		writeError(w, err)
		return
	}
	defer lease.Release()
	for _, name := range []string{"X-Amzn-Trace-Id", "Traceparent", "Tracestate", "Baggage"} {
		if v := r.Header[name]; len(v) > 0 {
			w.Header()[name] = v
		}
	}
	cmd := session.Command{Request: request, Shell: body.Command}
	if body.Timeout != nil {
		cmd.Timeout = time.Duration(*body.Timeout) * time.Second
	}
	h.stream(w, r.Context(), lease, cmd)
}

func (h *Handler) readCommand(r *http.Request) (commandRequest, error) {
	var body commandRequest
	data, err := readBody(r)
	if err != nil {
		return body, err
	}
	unknown, err := decode(data, &body)
	if len(unknown) > 0 && h.Logger != nil {
		h.Logger.Debug("members that are not known were ignored", "operation", "InvokeAgentRuntimeCommand", "members", unknown)
	}
	return body, err
}

// enter admits a request to a session of the agent runtime of its path, by
// the manager's Acquire or Connect.
func (h *Handler) enter(r *http.Request, id isolde.SessionID,
	admit func(context.Context, isolde.SessionKey, *session.Launch) (*session.Lease, error),
) (*session.Lease, error) {
	target, err := h.target(r)
	if err != nil {
		return nil, err
	}
	t, err := h.Catalog.Resolve(r.Context(), target, isolde.EndpointName(r.URL.Query().Get("qualifier")))
	if err != nil {
		return nil, err
	}
	lease, err := admit(r.Context(), isolde.SessionKey{Runtime: t.Runtime.ID, Session: id}, t.Launch)
	if err == nil {
		lease.Identify("", first(r.Header[HeaderUser]))
	}
	return lease, err
}

// lastEvents is how long a client may take to read the end of a command that
// is over.
const lastEvents = 30 * time.Second

// stream runs a command and answers with its events.
func (h *Handler) stream(w http.ResponseWriter, ctx context.Context, lease *session.Lease, cmd session.Command) {
	events := newCommandEvents(w)
	if events.start() != nil {
		return // the caller is gone
	}
	cmd.Stdout, cmd.Stderr = events.stdout.write, events.stderr.write
	began := time.Now()
	end, err := lease.Run(ctx, cmd)
	s := lease.Session()
	lease.Release() // a client that is slow to read the rest does not hold the session
	if h.Logger != nil {
		h.Logger.Info("command ended", "runtime", s.Runtime, "session", s.ID, "request", cmd.Request,
			"exit", end.ExitCode, "timeout", end.TimedOut, "dur", time.Since(began), "err", err)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lastEvents))
	if err != nil {
		events.fail(err)
		return
	}
	events.stop(end)
}
