package agentcore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/shell"
	"github.com/isolde-run/isolde/ws"
)

// shells serves InvokeAgentRuntimeCommandShell. Like a command, a shell with
// the id of a session that does not run starts it. What goes wrong before the
// handshake is over is an ordinary HTTP error.
func (h *Handler) shells(w http.ResponseWriter, r *http.Request) {
	request := newRequestID()
	w.Header().Set(HeaderRequestID, request)
	header, err := socketHeader(r)
	if err == nil {
		_, err = ws.Key(r)
	}
	if err != nil {
		w.Header().Set("Sec-Websocket-Version", "13")
		writeError(w, err)
		return
	}
	r = r.Clone(r.Context())
	r.Header = header
	claim, err := h.claimShell(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	c := shellConn{}
	c.socket, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{jwt.Subprotocol},
		InsecureSkipVerify: true, // the server has looked at the origin of every request
		OnPingReceived: func(context.Context, []byte) bool {
			if hold := c.hold; hold != nil {
				hold.Touch()
			}
			return true
		},
	})
	if err != nil { // which the client was told
		claim.Release()
		return
	}
	c.socket.SetReadLimit(shell.MaxFrame)
	c.hold = claim.Attach()
	defer c.hold.Detach()
	opened := time.Now()
	closure := c.serve()
	if h.Logger != nil {
		h.Logger.LogAttrs(context.Background(), slog.LevelInfo, "shell connection ended", slog.Any("shell", c.hold.ID()),
			slog.String("request", request), slog.Duration("dur", time.Since(opened)), slog.Any("err", closure))
	}
}

// claimShell claims the shell that a request names, and says in the header of
// the answer which it is.
func (h *Handler) claimShell(w http.ResponseWriter, r *http.Request) (*session.ShellClaim, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	w.Header().Set(HeaderSession, string(id))
	name := shell.NewID()
	if named := r.URL.Query()["shellId"]; len(named) > 0 {
		if name, err = shell.ParseID(named[0]); err != nil {
			return nil, err
		}
	}
	w.Header().Set(HeaderShell, string(name))
	lease, err := h.enter(r, id, h.Sessions.Connect)
	if err != nil {
		return nil, err
	}
	claim, err := lease.Shell(name)
	if err != nil {
		lease.Release()
	}
	return claim, err
}

// shellConn is a client's connection to a shell.
type shellConn struct {
	socket *websocket.Conn
	hold   *session.ShellHold
}

// shellFrame is how long a frame of output may be, in bytes: what any client
// takes, as some libraries stop at 32 KiB.
const shellFrame = 32 << 10

// What a client has time for.
const (
	shellWrite = time.Minute     // to take a frame
	shellLast  = 3 * time.Second // to take one more, when the connection must end
)

// errClientGone is that nobody is there to be told anything.
var errClientGone = errors.New("the client went away")

// gone hides what is in the chain of a connection's error: an io.EOF there is
// not the shell's.
func gone(err error) error { return fmt.Errorf("%w: %s", errClientGone, err.Error()) }

// serve carries frames until the connection is over, and returns why; nil if
// the client ended it.
func (c *shellConn) serve() error {
	ctx, cancel := context.WithCancelCause(c.hold.Context())
	defer cancel(nil)
	limit := time.AfterFunc(ws.MaxDuration, func() {
		cancel(&ws.Closure{Code: ws.CodePolicy, Reason: fmt.Sprintf("the connection lasted %v, the most allowed; the shell waits for another with its shellId", ws.MaxDuration)})
	})
	defer limit.Stop()
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		cancel(c.read(ctx))
	}()
	// A write that is cancelled breaks the connection off, so that it gets a moment.
	writing, broken := context.WithCancel(context.Background())
	defer broken()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(shellLast, broken) })
	defer stop()

	closure := c.closure(c.write(ctx, writing))
	if closure == nil {
		_ = c.socket.CloseNow()
	} else {
		_ = c.socket.Close(websocket.StatusCode(closure.Code), closure.Told())
	}
	<-reader
	if closure == nil {
		return nil
	}
	return closure
}

// write sends what the shell shows, and how it ended. The error is why there
// is no more; io.EOF if the shell ended.
func (c *shellConn) write(ctx, writing context.Context) error {
	send := func(frame []byte) error {
		writing, cancel := context.WithTimeout(writing, shellWrite)
		defer cancel()
		if err := c.socket.Write(writing, websocket.MessageBinary, frame); err != nil {
			return gone(err)
		}
		return nil
	}
	if err := send(shell.Opened(c.hold.ID(), c.hold.Reconnected, c.hold.Dropped).Frame()); err != nil {
		return err
	}
	frame := make([]byte, shellFrame)
	frame[0] = byte(shell.Stdout)
	for {
		n, err := c.hold.Output(ctx, frame[1:])
		switch {
		case errors.Is(err, io.EOF):
			if err := send(c.exit().Frame()); err != nil {
				return err
			}
			c.hold.End()
			return io.EOF
		case err == nil:
			if err = send(frame[:1+n]); err != nil {
				return err
			}
			c.hold.Sent(n)
		case c.hold.Context().Err() != nil && !errors.Is(err, session.ErrShellReplaced):
			_ = send(shell.Frame(shell.Close, nil)) // the shell goes, and the client is not to come back for it
			return err
		default:
			return err
		}
	}
}

func (c *shellConn) exit() shell.Status {
	code, err := c.hold.Exit()
	if err != nil {
		return shell.Failed(isolde.AsError(err).Error())
	}
	return shell.Exited(code)
}

// closure is what a client is told of the end; nil if it is gone.
func (c *shellConn) closure(err error) *ws.Closure {
	closure, told := errors.AsType[*ws.Closure](err)
	switch {
	case told:
		return closure
	case errors.Is(err, errClientGone):
		return nil
	case errors.Is(err, io.EOF):
		return &ws.Closure{Code: ws.CodeNormal, Reason: "the shell has ended"}
	case errors.Is(err, session.ErrShellReplaced):
		return &ws.Closure{Code: shell.CodeReplaced, Reason: err.Error()}
	default:
		reason, _ := c.hold.Ended()
		return &ws.Closure{Code: ws.CodeGoingAway, Reason: reason}
	}
}

// read does what the client's frames say, until the connection is over.
func (c *shellConn) read(ctx context.Context) error {
	for texts := 0; ; {
		// A read that is cancelled would break the connection off; it ends with it.
		kind, message, err := c.socket.Read(context.Background())
		if err != nil {
			return gone(err)
		}
		c.hold.Touch()
		if kind != websocket.MessageBinary {
			if texts++; texts == shell.MaxTextFrames {
				return &ws.Closure{Code: shell.CodeTextFrames, Reason: fmt.Sprintf("%d text frames in a row; a shell's frames are binary", texts)}
			}
			continue
		}
		texts = 0
		if err := c.do(ctx, message); err != nil {
			return err
		}
	}
}

// do does what a frame says. Channels that are not for the server, or not
// known, are ignored.
func (c *shellConn) do(ctx context.Context, message []byte) error {
	channel, payload, err := shell.Parse(message)
	if err != nil {
		return nil //nolint:nilerr // an empty message says nothing
	}
	switch channel {
	case shell.Stdin:
		return c.hold.Type(ctx, payload)
	case shell.Resize:
		size, err := shell.ParseSize(payload)
		if err != nil {
			return c.reply(shell.Frame(shell.Stderr, []byte(err.Error()+"\r\n")))
		}
		return c.hold.Resize(ctx, sandbox.WindowSize{Columns: size.Width, Rows: size.Height})
	case shell.Heartbeat:
		return c.reply(shell.Frame(shell.Heartbeat, nil))
	case shell.Close:
		c.hold.End()
		return &ws.Closure{Code: ws.CodeNormal, Reason: "the shell was closed"}
	}
	return nil
}

// reply sends a frame between those of the output.
func (c *shellConn) reply(frame []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), shellWrite)
	defer cancel()
	if err := c.socket.Write(ctx, websocket.MessageBinary, frame); err != nil {
		return gone(err)
	}
	return nil
}
