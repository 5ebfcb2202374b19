package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// The headers of InvokeAgentRuntime (botocore's bedrock-agentcore model).
const (
	headerSession   = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
	headerUser      = "X-Amzn-Bedrock-AgentCore-Runtime-User-Id"
	headerRequest   = "X-Amzn-RequestId"
	headerErrorType = "X-Amzn-ErrorType"
)

type invokeOptions struct {
	agent       string
	payload     string // of the command line; "-" for stdin
	hasPayload  bool
	session     string
	newSession  bool
	contentType string
	accept      string
	headers     []string
	user        string
	qualifier   string
	timeout     time.Duration
	raw         bool
}

func (a *app) invokeCommand() *cobra.Command {
	var o invokeOptions
	c := &cobra.Command{
		Use:   "invoke [AGENT] [PAYLOAD]",
		Short: "Call an agent and print its answer as it comes",
		Long: `Call an agent and print its answer as it comes.

One argument is the payload; with two, the first is the agent. Without --agent or
AGENT it is the agent of the isolde.yaml in this folder, else the only agent of the
server.

The payload is the argument, the content of a file (@file), or stdin (-, and when
there is no argument). A JSON object or array is sent as it is. Other text becomes
{"prompt": text}. With --content-type the bytes are sent untouched.

Calls go on in the session of the last call to the same agent, unless --session or
--new-session says otherwise.

stdout is the agent's output alone. Of an event stream that is the data of its
events: strings unquoted and joined, objects one per line. --raw prints the bytes of
the answer untouched. The ids of agent, session and request go to stderr.

The exit code is 7 when the agent failed, also when it said so after its answer had
begun ({"error": …} in the stream).`,
		Example: `  isolde invoke 'What is the weather?'
  isolde invoke weather '{"prompt": "2X5"}' --new-session
  isolde invoke --agent weather @question.json | jq .
  echo 'What is the weather?' | isolde invoke -`,
		Args: arguments(0, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				if o.agent != "" {
					return isolde.Errorf(isolde.CodeInvalid, "the agent is given twice: --agent %s and %q", o.agent, args[0]).
						WithHint("put the payload into quotes, so that it is one argument")
				}
				o.agent, args = args[0], args[1:]
			}
			if o.session != "" && o.newSession {
				return isolde.Errorf(isolde.CodeInvalid, "--session and --new-session were both given").WithHint("leave one of them out")
			}
			o.payload, o.hasPayload = optional(args, 0, "-"), len(args) > 0
			return a.invoke(c.Context(), o)
		},
	}
	f := c.Flags()
	a.serverFlag(c)
	a.agentFlag(c, &o.agent, "`name`, id or ARN of the agent")
	f.StringVar(&o.session, "session", "", "session `id` to call in (33 to 256 characters, or the beginning of one that exists)")
	f.BoolVar(&o.newSession, "new-session", false, "begin a new session")
	f.StringVar(&o.contentType, "content-type", "", "send the payload untouched, as this `type`")
	f.StringVar(&o.accept, "accept", "text/event-stream, application/json", "`types` that the agent may answer")
	f.StringArrayVar(&o.headers, "header", nil, "further header `NAME=VALUE` (repeatable)")
	f.StringVar(&o.user, "user-id", "", "`user` on whose behalf the agent is called")
	f.StringVar(&o.qualifier, "qualifier", "", "`endpoint` of the agent (default DEFAULT)")
	f.DurationVar(&o.timeout, "timeout", 0, "give up after this `time`, e.g. 30s (default: never)")
	f.BoolVar(&o.raw, "raw", false, "print the bytes of the answer untouched")
	return c
}

// invocation is a call with everything decided.
type invocation struct {
	agent   operator.Agent
	session isolde.SessionID
	payload payload
	options invokeOptions
}

func (a *app) invoke(ctx context.Context, o invokeOptions) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout,
			isolde.Errorf(isolde.CodeUnavailable, "the answer was not complete after %v", o.timeout).WithHint("give it longer with --timeout"))
		defer cancel()
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	in := invocation{options: o}
	if !o.hasPayload && isTerminal(a.in) {
		return noPayload()
	}
	if in.payload, err = a.readPayload(ctx, o.payload, o.contentType); err != nil {
		return err
	}
	in.agent, err = a.findAgent(ctx, client, o.agent)
	if isolde.CodeOf(err) == isolde.CodeDenied && o.agent != "" {
		// Who may call agents need not be allowed to look around: the server
		// takes what was named for the agent as well.
		in.agent, err = operator.Agent{ARN: o.agent}, nil
		in.agent.ID, in.agent.Name = isolde.RuntimeID(o.agent), o.agent
	}
	if err != nil {
		return err
	}
	memory := a.recent(client.URL, in.agent.ID)
	switch {
	case o.session != "":
		if in.session, err = givenSession(ctx, client, in.agent, o.session); err != nil {
			return err
		}
	case !o.newSession:
		in.session = memory.session()
	}
	if in.session == "" {
		in.session = isolde.NewSessionID()
	}
	resp, err := a.call(ctx, client.URL, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if s := resp.Header.Get(headerSession); s != "" {
		in.session = isolde.SessionID(s)
	}
	request := resp.Header.Get(headerRequest)
	a.err.printf("%s %s", a.err.dim("agent  "), in.agent.ID)
	a.err.printf("%s %s", a.err.dim("session"), in.session)
	a.err.printf("%s %s", a.err.dim("request"), request)
	if resp.StatusCode != http.StatusOK {
		err := a.apiError(ctx, client, in, resp)
		if isolde.CodeOf(err) == isolde.CodeAgent {
			a.remember(memory, client.URL, in)
		}
		return err
	}
	a.remember(memory, client.URL, in)
	return a.printAnswer(ctx, in, resp)
}

// givenSession takes a session id as it is, and the beginning of one if a
// session of the agent has it.
func givenSession(ctx context.Context, c *operator.Client, agent operator.Agent, id string) (isolde.SessionID, error) {
	if len(id) >= 8 && len(id) < isolde.MinSessionID {
		if s, err := findSession(ctx, c, string(agent.ID), id); err == nil {
			return s, nil
		}
	}
	return isolde.ParseSessionID(id)
}

func (a *app) remember(r recent, server string, in invocation) {
	if err := r.keep(recentCall{Server: server, Agent: in.agent.ID, Session: in.session}); err != nil {
		a.err.warn("the session is not remembered for the next call: "+err.Error(), "name it with --session "+string(in.session))
	}
}

// call sends the invocation over the API that every client uses.
func (a *app) call(ctx context.Context, server string, in invocation) (*http.Response, error) {
	u := server + "/runtimes/" + url.PathEscape(in.agent.ARN) + "/invocations"
	if in.options.qualifier != "" {
		u += "?qualifier=" + url.QueryEscape(in.options.qualifier)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(in.payload.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", in.payload.contentType)
	req.Header.Set("Accept", in.options.accept)
	req.Header.Set(headerSession, string(in.session))
	if in.options.user != "" {
		req.Header.Set(headerUser, in.options.user)
	}
	for _, h := range in.options.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" || strings.ContainsAny(name, " :\r\n") || strings.ContainsAny(value, "\r\n") {
			return nil, isolde.Errorf(isolde.CodeInvalid, "--header %q is not of the form NAME=VALUE", h)
		}
		req.Header.Add(name, value)
	}
	resp, err := a.http.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, isolde.Errorf(isolde.CodeUnavailable, "the connection to %s broke off: %v", server, errors.Unwrap(err)).
		WithHint("see the server's log")
}

// printAnswer copies the agent's output to stdout.
func (a *app) printAnswer(ctx context.Context, in invocation, resp *http.Response) error {
	p := &outputPrinter{w: a.out}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var err error
	switch {
	case in.options.raw:
		err = p.copy(resp.Body)
	case mediaType == "text/event-stream":
		err = p.stream(resp.Body)
	case mediaType == "application/json":
		err = p.document(resp.Body)
	default:
		err = p.copy(resp.Body)
	}
	if !in.options.raw && (isText(mediaType) || isTerminal(a.out) || err != nil) {
		err = errors.Join(err, p.endLine())
	}
	_, ownFault := errors.AsType[*fs.PathError](err) // of stdout
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case ownFault:
		return fmt.Errorf("print the answer: %w", err)
	case err != nil:
		return isolde.Errorf(isolde.CodeAgent, "the answer broke off: %v", err).WithHint("see: %s", in.logsCommand())
	case p.failure != "":
		return isolde.Errorf(isolde.CodeAgent, "the agent failed: %s", p.failure).WithHint("see: %s", in.logsCommand())
	}
	return nil
}

func isText(mediaType string) bool {
	return strings.HasPrefix(mediaType, "text/") || mediaType == "application/json"
}

func (in invocation) logsCommand() string {
	return "isolde logs " + in.agent.Name + " --session " + string(in.session)
}

// apiError reads an error of the API. What the agent itself did wrong, which
// the API does not tell, comes from the operator API.
func (a *app) apiError(ctx context.Context, c *operator.Client, in invocation, resp *http.Response) error {
	e := answeredError(resp)
	if e.Code != isolde.CodeAgent {
		return e
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s, err := c.Session(ctx, string(in.agent.ID), in.session)
	// A failed start belongs to no request: it is the error of all that waited.
	if err == nil && s.LastError != nil && (s.LastError.Request == "" || s.LastError.Request == resp.Header.Get(headerRequest)) {
		a.err.printf("%s\n%s", a.err.bold("the agent's error:"), indent(s.LastError.Message))
	}
	if strings.Contains(e.Hint, "isolde logs") { // of which session, the server leaves open
		return e.WithHint("%s", strings.Replace(e.Hint, "isolde logs", in.logsCommand(), 1))
	}
	return e.WithHint("see: %s", in.logsCommand())
}

// answeredError is an error as the API has it.
func answeredError(resp *http.Response) *isolde.Error {
	var body struct{ Message, Hint string }
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(data, &body) != nil || body.Message == "" {
		body.Message = "the server answered " + resp.Status
	}
	exception, _, _ := strings.Cut(resp.Header.Get(headerErrorType), ":")
	return isolde.Errorf(codeOfException(exception, resp.StatusCode), "%s", strings.TrimSuffix(body.Message, " ("+body.Hint+")")).WithHint("%s", body.Hint)
}

// codeOfException is the code that has the exception name, else the one that
// has the status.
func codeOfException(exception string, status int) isolde.Code {
	all := []isolde.Code{
		isolde.CodeInvalid, isolde.CodeUnauthorized, isolde.CodeDenied, isolde.CodeNotFound, isolde.CodeConflict,
		isolde.CodeQuota, isolde.CodeThrottled, isolde.CodeAgent, isolde.CodeInternal, isolde.CodeUnavailable,
	}
	for _, c := range all {
		if c.Exception() == exception {
			return c
		}
	}
	for _, c := range all {
		if c.HTTPStatus() == status {
			return c
		}
	}
	return isolde.CodeUnavailable
}
