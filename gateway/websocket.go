package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/ws"
)

// socketPath is where agents take WebSockets, whatever their path for
// invocations is.
const socketPath = "/ws"

// handshakeLimit is how long an agent may take to answer the request for a
// WebSocket.
const handshakeLimit = 30 * time.Second

// Socket is an agent's side of a WebSocket, open and waiting for its client.
// It must be relayed or closed.
type Socket struct {
	Header http.Header // of the agent's answer to the handshake

	gateway *Gateway
	inv     *isolde.Invocation
	target  *catalog.Target
	lease   *session.Lease
	conn    net.Conn
	reader  *bufio.Reader
}

// Connect opens a WebSocket to an invocation's agent, starting the session if
// need be; method, path and body of the invocation play no part. Errors are
// those of [Gateway.Invoke], and CodeInvalid for an agent whose protocol has
// no WebSocket.
func (g *Gateway) Connect(ctx context.Context, inv *isolde.Invocation) (socket *Socket, err error) {
	started := time.Now()
	target, err := g.Catalog.Resolve(ctx, inv.Target, inv.Qualifier)
	if err != nil {
		return nil, err
	}
	switch p := target.Version.Spec.Protocol; p {
	case "", isolde.ProtocolHTTP, isolde.ProtocolAGUI:
	default:
		return nil, isolde.Errorf(isolde.CodeInvalid, "agent runtime %s speaks %s, which has no WebSocket", target.Runtime.ID, p).
			WithHint("agents with protocol HTTP or AGUI have")
	}
	defer func() {
		if err != nil {
			if ctx.Err() != nil { // the caller is gone; nobody failed
				err = isolde.Errorf(isolde.CodeUnavailable, "the caller went away: %w", context.Cause(ctx))
			}
			g.logFailure(inv, target, err)
		}
		g.Metrics.Invocation(target.Runtime.ID, err, time.Since(started))
	}()
	lease, err := g.Sessions.Connect(ctx, isolde.SessionKey{Runtime: target.Runtime.ID, Session: inv.Session}, target.Launch)
	if err != nil {
		return nil, err
	}
	lease.Identify(inv.RequestID, inv.User)
	s := &Socket{gateway: g, inv: inv, target: target, lease: lease}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

var errHandshakeLimit = fmt.Errorf("no answer to the request for a WebSocket within %v", handshakeLimit)

func (s *Socket) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeLimit, errHandshakeLimit)
	defer cancel()
	resp, err := s.shakeHands(ctx)
	switch {
	case errors.Is(context.Cause(ctx), errHandshakeLimit):
		s.lease.AgentError(isolde.AgentError{Time: time.Now(), Request: s.inv.RequestID, Message: errHandshakeLimit.Error()})
		return isolde.Errorf(isolde.CodeAgent, "the agent gave %w", errHandshakeLimit)
	case err != nil:
		return s.lease.Failed(ctx, s.inv.RequestID, "did not answer the request for a WebSocket as one", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return s.refused(resp)
	}
	s.Header = resp.Header
	return nil
}

func (s *Socket) shakeHands(ctx context.Context) (resp *http.Response, err error) {
	if s.conn, err = s.lease.Dial(ctx); err != nil {
		return nil, err
	}
	resp, s.reader, err = ws.Open(ctx, s.conn, socketPath, s.inv.Header)
	return resp, err
}

// refused is call.refused for an agent that answered with something else.
func (s *Socket) refused(resp *http.Response) error {
	defer resp.Body.Close()
	// A body without end must not keep the caller waiting.
	_ = s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAgentError))
	s.lease.AgentError(isolde.AgentError{
		Time: time.Now(), Request: s.inv.RequestID, Status: resp.StatusCode,
		Message: fmt.Sprintf("the agent answered %s to GET %s: %s", resp.Status, socketPath, text),
	})
	return s.gateway.refusal(resp.StatusCode, text).
		WithHint("it did not accept a WebSocket at %s; isolde logs shows the agent's own error", socketPath)
}

// Relay joins the socket to its client's connection, which is past its
// handshake, and returns when both are closed. It ends with the peers, at
// AgentCore's limits, with the session and with the server; each frame sets
// back the session's idle clock.
func (s *Socket) Relay(client net.Conn, reader *bufio.Reader) {
	opened := time.Now()
	hold := s.lease.Attach()
	defer hold.Detach()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	stop := context.AfterFunc(hold.Context(), func() {
		cancel(s.lost(hold, nil))
	})
	defer stop()
	relay := ws.Relay{
		Client: &ws.Conn{Conn: client, Reader: reader},
		Agent:  &ws.Conn{Conn: s.conn, Reader: s.reader},
		Passed: hold.Touch,
		Lost:   func(err error) *ws.Closure { return s.lost(hold, err) },
	}
	err := relay.Run(ctx)
	if fault, ok := errors.AsType[*ws.AgentFault](err); ok {
		s.lease.AgentError(isolde.AgentError{Time: time.Now(), Request: s.inv.RequestID, Message: fault.Error()})
	}
	s.gateway.Logger.Info("websocket ended", "runtime", s.target.Runtime.ID, "session", s.inv.Session,
		"request", s.inv.RequestID, "dur", time.Since(opened), "err", err)
}

// lost is what a client is told whose agent's connection ended without a
// Close, or must end.
func (s *Socket) lost(hold *session.Attachment, err error) *ws.Closure {
	reason, fault := hold.Ended()
	switch {
	case reason == "":
		s.lease.AgentError(isolde.AgentError{Time: time.Now(), Request: s.inv.RequestID, Message: fmt.Sprintf("the agent broke off a WebSocket: %v", err)})
		return &ws.Closure{Code: ws.CodeInternal, Reason: "the agent broke off the connection"}
	case fault:
		return &ws.Closure{Code: ws.CodeInternal, Reason: reason}
	default:
		return &ws.Closure{Code: ws.CodeGoingAway, Reason: reason}
	}
}

// Close gives up a socket that was not relayed.
func (s *Socket) Close() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.lease.Release()
}
