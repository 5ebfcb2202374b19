// Package gateway carries an invocation to its session's agent and the answer
// back: target → endpoint → version, acquire the session, pass the bytes
// through untouched.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/http1"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/telemetry"
)

// The bounds of the AgentCore limits page.
const (
	syncLimit   = 15 * time.Minute // until a plain answer is complete
	streamLimit = 60 * time.Minute // until an event stream is complete
)

// maxAgentError bounds how much of an agent's error is kept for its owner.
const maxAgentError = 64 << 10

// Gateway carries invocations. Safe for concurrent use.
type Gateway struct {
	Catalog  *catalog.Catalog
	Sessions *session.Manager
	Metrics  *telemetry.Metrics
	Logger   *slog.Logger
	// ExposeAgentErrors puts what an agent says with an error into the message
	// that the caller gets; on AWS, and by default, only its owner sees it.
	ExposeAgentErrors bool
}

// Response is an agent's answer. Its Body must be closed.
type Response struct {
	Status int
	Header http.Header
	Body   *Body
}

// Streams reports whether the answer comes without a known length, so that
// each part must be passed on as it arrives.
func (r *Response) Streams() bool { return r.Body.length < 0 }

// Invoke sends an invocation to its session's agent, starting the session if
// need be, and returns when the agent's answer begins. Errors are the
// session's (see session.Manager.Acquire), CodeNotFound for an unknown target
// or endpoint, CodeInvalid for a body over isolde.MaxPayload, and CodeAgent
// when the agent answers 400 or above, not in time, or not at all.
func (g *Gateway) Invoke(ctx context.Context, inv *isolde.Invocation) (resp *Response, err error) {
	started := time.Now()
	if inv.ContentLength > isolde.MaxPayload {
		return nil, errTooLarge(inv.ContentLength)
	}
	target, err := g.Catalog.Resolve(ctx, inv.Target, inv.Qualifier)
	if err != nil {
		return nil, err
	}
	done := func(err error) { g.Metrics.Invocation(target.Runtime.ID, err, time.Since(started)) }
	c := &call{gateway: g, inv: inv, url: url.URL{Path: cmp.Or(inv.Path, target.Version.Spec.AgentPath())}, done: done}
	defer func() {
		if err != nil {
			if c.abandoned(ctx) { // nobody failed
				err = isolde.Errorf(isolde.CodeUnavailable, "the caller went away: %w", context.Cause(ctx))
			}
			done(err)
			g.logFailure(inv, target, err)
		}
	}()
	key := isolde.SessionKey{Runtime: target.Runtime.ID, Session: inv.Session}
	if c.lease, err = g.Sessions.Acquire(ctx, key, target.Launch); err != nil {
		return nil, err
	}
	c.lease.Identify(inv.RequestID, inv.User)
	if resp, err = c.send(ctx); err != nil {
		c.close()
		return nil, err
	}
	return resp, nil
}

func (g *Gateway) logFailure(inv *isolde.Invocation, t *catalog.Target, err error) {
	e := isolde.AsError(err)
	level := slog.LevelWarn
	if e.Code == isolde.CodeInternal {
		level = slog.LevelError
	}
	g.Logger.Log(context.Background(), level, "invocation failed", "runtime", t.Runtime.ID, "session", inv.Session,
		"request", inv.RequestID, "err", e.Error(), "cause", e.Err)
}

func errTooLarge(n int64) error {
	return isolde.Errorf(isolde.CodeInvalid, "the payload has %d bytes; at most %d are allowed", n, isolde.MaxPayload)
}

// call is one invocation under way.
type call struct {
	gateway *Gateway
	inv     *isolde.Invocation
	lease   *session.Lease
	body    *boundedReader
	ctx     *http1.Context // nil before the session is there
	url     url.URL
	limit   *time.Timer
	done    func(error)

	unwatch func() bool // of the session's end; nil if nobody does
}

var (
	errSessionEnded = errors.New("the session ended")
	errSyncLimit    = fmt.Errorf("no complete answer within %v", syncLimit)
	errStreamLimit  = fmt.Errorf("the stream took longer than %v", streamLimit)
)

// abandoned says whether the caller is gone. To interrupt the reading of its
// body looks to an HTTP server as if it were.
func (c *call) abandoned(caller context.Context) bool {
	if c.ctx == nil {
		return caller.Err() != nil
	}
	cause := c.ctx.Cause()
	return caller.Err() != nil && cause != errSessionEnded && cause != errSyncLimit && cause != errStreamLimit //nolint:errorlint // our own values
}

func (c *call) send(ctx context.Context) (*Response, error) {
	c.ctx = http1.NewContext(ctx)
	c.limit = time.AfterFunc(syncLimit, func() { c.ctx.Cancel(errSyncLimit) })
	req := (&http.Request{
		Method:        c.inv.Method,
		URL:           &c.url,
		Header:        c.inv.Header,
		ContentLength: c.inv.ContentLength,
	}).WithContext(c.ctx)
	if c.inv.Body != nil && c.inv.ContentLength != 0 {
		body := &requestBody{Reader: c.inv.Body}
		if c.inv.ContentLength < 0 {
			c.body = &boundedReader{r: c.inv.Body, left: isolde.MaxPayload}
			body.Reader = c.body
		}
		body.interrupter, _ = c.inv.Body.(interrupter)
		req.Body = body
		if int64(body.Buffered()) < c.inv.ContentLength || c.inv.ContentLength < 0 {
			c.watch()
		}
	}
	resp, err := c.lease.RoundTrip(req)
	if err != nil {
		return nil, c.failed("closed the connection without an answer", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 { // AgentCore passes no redirect and no upgrade
		return nil, c.refused(resp)
	}
	if isStream(resp.Header) && c.limit.Stop() {
		c.limit = time.AfterFunc(streamLimit, func() { c.ctx.Cancel(errStreamLimit) })
	}
	out := &Response{
		Status: resp.StatusCode,
		Header: resp.Header,
		Body:   &Body{call: c, body: resp.Body, length: resp.ContentLength},
	}
	if !out.Body.Whole() {
		c.watch()
	}
	return out, nil
}

// watch cancels the call when its session ends. What waits for the agent alone
// needs none: its connections are cut then.
func (c *call) watch() {
	if c.unwatch == nil {
		c.unwatch = context.AfterFunc(c.lease.Context(), func() { c.ctx.Cancel(errSessionEnded) })
	}
}

// failed says why there is no answer, or no whole one; what is what the agent
// did if nothing else explains it.
func (c *call) failed(what string, err error) error {
	if c.body != nil && c.body.over {
		return isolde.Errorf(isolde.CodeInvalid, "the payload has more than %d bytes, the most allowed", isolde.MaxPayload)
	}
	for _, limit := range []error{errSyncLimit, errStreamLimit} {
		if errors.Is(c.ctx.Cause(), limit) {
			c.lease.AgentError(isolde.AgentError{Time: time.Now(), Request: c.inv.RequestID, Message: limit.Error()})
			return isolde.Errorf(isolde.CodeAgent, "the agent gave %w", limit)
		}
	}
	return c.lease.Failed(c.ctx, c.inv.RequestID, what, err)
}

// refused keeps an agent's error answer for its owner; the caller gets what
// AgentCore says in its place.
func (c *call) refused(resp *http.Response) error {
	var text []byte
	if resp.StatusCode != http.StatusSwitchingProtocols { // that one has no end
		text, _ = io.ReadAll(io.LimitReader(resp.Body, maxAgentError))
	}
	resp.Body.Close()
	c.lease.AgentError(isolde.AgentError{
		Time: time.Now(), Request: c.inv.RequestID, Status: resp.StatusCode,
		Message: fmt.Sprintf("the agent answered %s: %s", resp.Status, text),
	})
	return c.gateway.refusal(resp.StatusCode, text).WithHint("isolde logs shows the agent's own error")
}

func (c *call) close() {
	c.limit.Stop()
	if c.unwatch != nil {
		c.unwatch()
	}
	c.ctx.Cancel(nil)
	c.lease.Release()
}

// Body is the body of an agent's answer.
type Body struct {
	call   *call
	body   io.ReadCloser
	length int64
	err    error // how reading ended; nil at its end
	closed bool
}

// Read reads what has arrived. An error other than io.EOF is an
// *isolde.Error: the agent broke off, or a limit was reached.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.brokenOff(err)
	}
	return n, err
}

// WriteTo writes all of it to w, as cheaply as http1.Copy can. An error is
// w's, or like that of Read.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	n, err := http1.Copy(w, b.body)
	if failed := (*http1.ReadError)(nil); errors.As(err, &failed) {
		err = b.brokenOff(failed.Err)
	}
	return n, err
}

func (b *Body) brokenOff(err error) error {
	if b.err == nil {
		b.err = b.call.failed("broke off its answer", err)
		b.call.gateway.Logger.Warn("answer broken off", "session", b.call.inv.Session, "request", b.call.inv.RequestID, "err", b.err, "cause", err)
	}
	return b.err
}

// Whole says whether all of the body can be read at once.
func (b *Body) Whole() bool {
	w, ok := b.body.(interface{ Whole() bool })
	return ok && w.Whole()
}

// Ready says whether a Read returns at once.
func (b *Body) Ready() bool {
	r, ok := b.body.(interface{ Ready() bool })
	return ok && r.Ready()
}

// Context ends when the answer must be over: at a limit, with the session, or
// with the caller.
func (b *Body) Context() context.Context { return b.call.ctx }

// Close ends the invocation; if the body was not read to its end, the agent's
// request is cancelled. Idempotent.
func (b *Body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	err := b.body.Close()
	b.call.close()
	b.call.done(b.err)
	return err
}

func isStream(h http.Header) bool {
	const stream = "text/event-stream"
	values := h["Content-Type"]
	if len(values) == 0 || len(values[0]) < len(stream) || !strings.EqualFold(values[0][:len(stream)], stream) {
		return false
	}
	t, _, err := mime.ParseMediaType(values[0])
	return err == nil && t == stream
}
