package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/shell"
	"github.com/isolde-run/isolde/ws"
)

// The patience of a connection to a shell.
const (
	shellDial      = 3 * time.Minute // a session may have to start
	shellHeartbeat = 15 * time.Second
	shellSilence   = 3 * shellHeartbeat // without an answer to heartbeats: the connection is dead
	shellAway      = 15 * time.Minute   // the server keeps a shell without a connection for as long
)

// leaveKey is Ctrl-], which leaves a shell.
const leaveKey = 0x1d

// shellConnection is a shell's other end, at the user. It speaks the API that
// any client of AgentCore does.
type shellConnection struct {
	http    *http.Client
	url     string
	agent   string
	session isolde.SessionID
	id      shell.ID
	in      io.Reader
	out     io.Writer
	info    *terminal

	interactive bool // in is a terminal
	size        func() (shell.Size, bool)
	resized     <-chan os.Signal

	typed   <-chan []byte // nil once it has ended
	hangUp  <-chan time.Time
	lineEnd bool // what was typed so far ends a line
	left    bool // the user left; the shell goes on
}

// errBroken is that the connection broke off; there may be another.
var errBroken = errors.New("the connection broke off")

// run connects, again if need be, and returns the shell's exit code once it is
// over, or 0 when the user left it.
func (c *shellConnection) run(ctx context.Context) (int, error) {
	done := make(chan struct{})
	defer close(done)
	c.typed, c.lineEnd = keys(c.in, done), true
	socket, err := c.dial(ctx)
	if err != nil {
		return 0, err
	}
	for again := false; ; again = true {
		code, err := c.serve(ctx, socket, again)
		if !errors.Is(err, errBroken) {
			return code, err
		}
		c.say("the connection broke off; connecting again")
		if socket, err = c.redial(ctx); err != nil {
			return 0, err
		}
	}
}

// say tells the user something beside the shell's output.
func (c *shellConnection) say(text string) {
	end := "\n"
	if c.interactive { // the terminal is raw
		end = "\r\n"
	}
	_, _ = io.WriteString(c.info, end+"["+text+"]"+end)
}

// dial connects. All connections go through the client, which signs them.
func (c *shellConnection) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, shellDial)
	defer cancel()
	socket, resp, err := websocket.Dial(ctx, c.url, &websocket.DialOptions{ //nolint:bodyclose // the library does
		HTTPClient: c.http, HTTPHeader: http.Header{headerSession: {string(c.session)}},
	})
	switch {
	case err == nil:
		socket.SetReadLimit(shell.MaxFrame)
		return socket, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case resp == nil || resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, isolde.Errorf(isolde.CodeUnavailable, "no Isolde server answers at %s", strings.TrimSuffix(c.url[:strings.Index(c.url, "/runtimes/")], "/")).
			WithHint("start one with: isolde serve; or name another with --server or ISOLDE_SERVER").WithCause(err)
	}
	return nil, answeredError(resp) // of whose body the library keeps the beginning
}

// redial connects again, for as long as the server keeps the shell.
func (c *shellConnection) redial(ctx context.Context) (*websocket.Conn, error) {
	deadline := time.Now().Add(shellAway)
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		socket, err := c.dial(ctx)
		if err == nil {
			return socket, nil
		}
		switch isolde.CodeOf(err) {
		case isolde.CodeUnavailable, isolde.CodeConflict, isolde.CodeThrottled, isolde.CodeInternal:
		default:
			return nil, err
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// frame is what was read of a connection.
type frame struct {
	channel shell.Channel
	payload []byte
	err     error
}

// serve carries one connection until it is over. The error is errBroken if
// another may go on.
func (c *shellConnection) serve(ctx context.Context, socket *websocket.Conn, again bool) (code int, err error) {
	defer socket.CloseNow() //nolint:errcheck // it may be closed
	frames, done := make(chan frame), make(chan struct{})
	go read(socket, frames, done)
	stopReading := sync.OnceFunc(func() { close(done) })
	defer stopReading()
	hangUp := func(code websocket.StatusCode, reason string) {
		stopReading() // which Close does to its end
		_ = socket.Close(code, reason)
	}
	send := func(message []byte) {
		// What cannot be written cannot be read either, and that tells why.
		writing, cancel := context.WithTimeout(ctx, shellSilence)
		defer cancel()
		_ = socket.Write(writing, websocket.MessageBinary, message)
	}
	resize := func() {
		if c.size != nil {
			if size, ok := c.size(); ok {
				send(size.Frame())
			}
		}
	}
	resize()
	beat := time.NewTicker(shellHeartbeat)
	defer beat.Stop()
	heard := time.Now()
	end := shell.Status{} // of the shell
	ended := false        // by the platform
	for {
		select {
		case f := <-frames:
			heard = time.Now()
			switch {
			case f.err != nil:
				return c.over(end, ended, f.err)
			case f.channel == shell.Stdout:
				if _, err := c.out.Write(f.payload); err != nil {
					return 0, err
				}
			case f.channel == shell.Stderr:
				_, _ = c.info.Write(f.payload)
			case f.channel == shell.Close:
				ended = true
			case f.channel == shell.Result:
				status, err := shell.ParseStatus(f.payload)
				switch {
				case err != nil:
					return 0, err
				case status.Over():
					end = status
				case again && status.Metadata.Reconnected != nil && !*status.Metadata.Reconnected:
					c.say("the shell is gone; this is a new one")
				case status.Metadata.BytesDropped > 0:
					c.say("some of what the shell showed meanwhile is lost")
				}
			}
		case keys, ok := <-c.typed:
			if !ok {
				c.typed = nil
				c.hangUp = time.After(0)
				continue
			}
			at := -1
			if c.interactive {
				at = bytes.IndexByte(keys, leaveKey)
			}
			if at >= 0 {
				keys = keys[:at]
			}
			if len(keys) > 0 {
				c.lineEnd = keys[len(keys)-1] == '\n'
				send(shell.Frame(shell.Stdin, keys))
			}
			if at >= 0 {
				c.left = true
				hangUp(websocket.StatusNormalClosure, "left")
				return 0, nil
			}
		case <-c.hangUp:
			// The end of what is typed is Ctrl-D at the beginning of a line. Whatever
			// runs in the shell may take it, so it is typed until the shell does.
			c.hangUp = time.After(time.Second)
			if !c.lineEnd {
				c.lineEnd = true
				send(shell.Frame(shell.Stdin, []byte("\n")))
			}
			send(shell.Frame(shell.Stdin, []byte{0x04}))
		case <-c.resized:
			resize()
		case now := <-beat.C:
			if now.Sub(heard) > shellSilence {
				return 0, errBroken
			}
			send(shell.Frame(shell.Heartbeat, nil))
		case <-ctx.Done():
			hangUp(websocket.StatusGoingAway, "interrupted")
			return 0, context.Cause(ctx)
		}
	}
}

// read reads frames until the connection is over.
func read(socket *websocket.Conn, to chan<- frame, done <-chan struct{}) {
	for {
		_, message, err := socket.Read(context.Background())
		f := frame{err: err}
		if err == nil {
			if f.channel, f.payload, err = shell.Parse(message); err != nil {
				continue // nothing
			}
		}
		select {
		case to <- f:
		case <-done:
			return
		}
		if f.err != nil {
			return
		}
	}
}

// over says what the end of a connection means.
func (c *shellConnection) over(end shell.Status, ended bool, err error) (int, error) {
	if end.Kind != "" {
		if code, known := end.ExitCode(); known {
			return code, nil
		}
		return 0, isolde.Errorf(isolde.CodeAgent, "%s", end.Message)
	}
	closed, _ := errors.AsType[websocket.CloseError](err)
	switch {
	case closed.Code == shell.CodeReplaced:
		return 0, isolde.Errorf(isolde.CodeConflict, "another connection has taken over the shell %s", c.id)
	case closed.Code == ws.CodeNormal:
		return 0, nil
	case ended:
		return 0, isolde.Errorf(isolde.CodeUnavailable, "the shell was ended: %s", closed.Reason)
	}
	return 0, errBroken
}
