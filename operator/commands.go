package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/session"
)

// Command is what POST /isolde/v1/sessions/{session}/commands takes: a program
// to run in a session beside its agent, without a shell in between. The session
// must run; query parameter agent, if its id is not unique. The answer is a
// stream of [CommandEvent].
type Command struct {
	Args    []string       `json:"args"`
	Timeout isolde.Seconds `json:"timeout,omitempty"` // 1 to 3600; 0: 300
}

// CommandEvent is one line of a command's answer. The last line has Exit or
// Error, those before it output, as it comes.
type CommandEvent struct {
	Stdout []byte       `json:"stdout,omitempty"` // base64 in JSON
	Stderr []byte       `json:"stderr,omitempty"`
	Exit   *CommandExit `json:"exit,omitempty"`
	Error  *ErrorBody   `json:"error,omitempty"`
}

// CommandExit is how a command ended.
type CommandExit struct {
	Code     int  `json:"exitCode"` // 128+n for signal n; -1 when it was killed at its timeout
	TimedOut bool `json:"timedOut,omitempty"`
}

// maxCommandBody bounds the body of a command, in bytes: more than a kernel
// would take as arguments.
const maxCommandBody = 4 << 20

// lastLines is how long a caller may take to read the end of a command's
// answer.
const lastLines = 30 * time.Second

func (h *Handler) runCommand(w http.ResponseWriter, r *http.Request) {
	cmd, err := readCommand(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	s, err := h.find(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	lease, err := h.Sessions.Acquire(r.Context(), s.Key(), nil)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer lease.Release()
	out := &commandWriter{lines: newLineWriter(w)}
	_ = out.lines.rc.Flush() // the header
	end, err := lease.Run(r.Context(), session.Command{
		Request: "of the operator", Args: cmd.Args, Timeout: cmd.Timeout.Duration(),
		Stdout: func(p []byte) error { return out.write(r.Context(), CommandEvent{Stdout: p}, len(p)) },
		Stderr: func(p []byte) error { return out.write(r.Context(), CommandEvent{Stderr: p}, len(p)) },
	})
	lease.Release() // a caller that is slow to read the rest does not hold the session
	_ = out.lines.rc.SetWriteDeadline(time.Now().Add(lastLines))
	last := CommandEvent{Exit: &CommandExit{Code: end.ExitCode, TimedOut: end.TimedOut}}
	if err != nil {
		h.log(r, isolde.AsError(err))
		last = CommandEvent{Error: errorBody(err)}
	}
	out.close(last)
}

func readCommand(r *http.Request) (Command, error) {
	var cmd Command
	dec := json.NewDecoder(io.LimitReader(r.Body, maxCommandBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cmd); err != nil {
		return cmd, isolde.Errorf(isolde.CodeMalformed, "the body is not a command: %w", err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // or the caller's leaving is not noticed
		return cmd, isolde.Errorf(isolde.CodeMalformed, "the body broke off: %w", err)
	}
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return cmd, isolde.Errorf(isolde.CodeInvalid, "no program is named")
	}
	if strings.Contains(strings.Join(cmd.Args, ""), "\x00") {
		return cmd, isolde.Errorf(isolde.CodeInvalid, "an argument has a NUL character")
	}
	if t := cmd.Timeout.Duration(); t < 0 || t > session.MaxCommandTimeout {
		return cmd, isolde.Errorf(isolde.CodeInvalid, "timeout %v is not in 1s to %v", t, session.MaxCommandTimeout)
	}
	return cmd, nil
}

// commandWriter writes the lines of a command, whose two outputs come at the
// same time.
type commandWriter struct {
	mu     sync.Mutex
	lines  *lineWriter
	total  int
	closed bool
}

func (c *commandWriter) write(ctx context.Context, e CommandEvent, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || ctx.Err() != nil {
		return context.Canceled
	}
	if c.total += n; c.total > session.MaxCommandOutput {
		return isolde.Errorf(isolde.CodeQuota, "the command printed more than %d bytes, the most allowed", session.MaxCommandOutput)
	}
	c.lines.write(e)
	return nil
}

func (c *commandWriter) close(last CommandEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.lines.write(last)
}

// Exec runs a command in a session that runs, and copies its output as it
// comes. agent may be empty when the session's id is unique. Errors are those
// of session.Lease.Run and of the writers; CodeNotFound when the session does
// not run.
func (c *Client) Exec(ctx context.Context, agent string, id isolde.SessionID, cmd Command, stdout, stderr io.Writer) (CommandExit, error) {
	body, err := json.Marshal(cmd)
	if err != nil {
		return CommandExit{}, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/isolde/v1/sessions/"+url.PathEscape(string(id))+"/commands", query("agent", agent),
		"application/json", bytes.NewReader(body))
	if err != nil {
		return CommandExit{}, err
	}
	defer resp.Body.Close()
	for e, err := range lines[CommandEvent](resp.Body) {
		if err == nil {
			_, err = stdout.Write(e.Stdout)
		}
		if err == nil {
			_, err = stderr.Write(e.Stderr)
		}
		switch {
		case ctx.Err() != nil:
			return CommandExit{}, context.Cause(ctx)
		case err != nil:
			return CommandExit{}, err
		case e.Error != nil:
			return CommandExit{}, e.Error.asError()
		case e.Exit != nil:
			return *e.Exit, nil
		}
	}
	return CommandExit{}, isolde.Errorf(isolde.CodeUnavailable, "%s broke off its answer", c.URL).WithHint("see the server's log")
}
