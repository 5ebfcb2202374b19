package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
)

// filesStall is how long a caller may take nothing of the files it copies: a
// copy is use of the session.
const filesStall = time.Minute

// filesTrailer is the trailer that has the [ErrorBody], as JSON, of an archive
// from which something is missing.
const filesTrailer = "Isolde-Error"

// readFiles answers with a tar of a file or a folder of a session. A tar in the
// sandbox makes it: the server never looks into the file system of an agent.
func (h *Handler) readFiles(w http.ResponseWriter, r *http.Request) {
	place := path.Clean(r.URL.Query().Get("path"))
	dir, base := path.Split(place)
	if base == "." || base == ".." || base == "" {
		h.fail(w, r, isolde.Errorf(isolde.CodeInvalid, "path %q names no file and no folder in another", r.URL.Query().Get("path")))
		return
	}
	lease, err := h.enter(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer lease.Release()
	out := &archiveWriter{w: w, rc: http.NewResponseController(w)}
	err = runTar(r.Context(), lease, session.Command{
		Args: []string{"tar", "-cf", "-", "-C", path.Join(dir, "."), "--", base}, Stdout: out.write,
	})
	_ = out.rc.SetWriteDeadline(time.Now().Add(lastLines))
	switch {
	case err != nil && !out.begun:
		h.fail(w, r, err)
	case err != nil && isolde.CodeOf(err) != isolde.CodeInvalid: // not tar's own
		h.log(r, isolde.AsError(err))
		panic(http.ErrAbortHandler)
	case err != nil:
		text, _ := json.Marshal(errorBody(err)) // has nothing that could fail
		w.Header().Set(filesTrailer, string(text))
	}
}

// writeFiles unpacks a tar in a folder of a session.
func (h *Handler) writeFiles(r *http.Request) (any, error) {
	dir := r.URL.Query().Get("path")
	if dir == "" {
		return nil, isolde.Errorf(isolde.CodeInvalid, "no path is named").WithHint("it is the folder that the files go to")
	}
	lease, err := h.enter(r)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	body := &source{Reader: r.Body}
	err = runTar(r.Context(), lease, session.Command{Args: []string{"tar", "-xof", "-", "-C", path.Clean(dir)}, Stdin: body})
	if failed := body.failure(); failed != nil {
		return nil, isolde.Errorf(isolde.CodeMalformed, "the body broke off: %w", failed)
	}
	return struct{}{}, err
}

// enter admits a request to the session of its path, which must run.
func (h *Handler) enter(r *http.Request) (*session.Lease, error) {
	s, err := h.find(r)
	if err != nil {
		return nil, err
	}
	return h.Sessions.Acquire(r.Context(), s.Key(), nil)
}

// runTar runs a tar in a session. What it complains of is CodeNotFound, if
// something is not there, or CodeInvalid.
func runTar(ctx context.Context, lease *session.Lease, cmd session.Command) error {
	var said complaint
	cmd.Request, cmd.Timeout, cmd.Stderr = "of the operator", session.MaxCommandTimeout, said.write
	end, err := lease.Run(ctx, cmd)
	switch text := said.String(); {
	case errors.Is(err, sandbox.ErrNotExecutable):
		return isolde.Errorf(isolde.CodeUnsupported, "the agent's image has no tar, which copies files").
			WithHint("isolde session exec runs programs that it has").WithCause(err)
	case err != nil:
		return err
	case end.TimedOut:
		return isolde.Errorf(isolde.CodeUnavailable, "the copy took longer than %v", session.MaxCommandTimeout)
	case end.ExitCode == 0:
		return nil
	case strings.Contains(text, "No such file or directory"):
		return isolde.Errorf(isolde.CodeNotFound, "%s", text)
	default:
		return isolde.Errorf(isolde.CodeInvalid, "tar in the session ended with %d: %s", end.ExitCode, text)
	}
}

// complaint is the beginning of what a command says on stderr. It may be
// written to when the command is over.
type complaint struct {
	mu   sync.Mutex
	text []byte
}

func (c *complaint) write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p[:min(len(p), 2<<10-len(c.text))]...)
	return nil
}

func (c *complaint) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(strings.Split(strings.TrimSpace(string(c.text)), "\n"), "; ")
}

// archiveWriter passes an archive on once it has an entry. A tar that finds
// nothing writes an empty archive, which is zeros, before it says so.
type archiveWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	zeros int
	begun bool
}

func (a *archiveWriter) write(p []byte) error {
	if !a.begun {
		if len(bytes.TrimLeft(p, "\x00")) == 0 {
			a.zeros += len(p)
			return nil
		}
		a.begun = true
		a.w.Header().Set("Content-Type", "application/x-tar")
		a.w.Header().Set("Trailer", filesTrailer)
		if err := a.send(make([]byte, a.zeros)); err != nil {
			return err
		}
	}
	return a.send(p)
}

func (a *archiveWriter) send(p []byte) error {
	_ = a.rc.SetWriteDeadline(time.Now().Add(filesStall))
	_, err := a.w.Write(p)
	return err
}

// ReadFiles writes a tar of a file or a folder of a session that runs to w; its
// names begin with the last element of path. agent may be empty when the
// session's id is unique. CodeNotFound when there is nothing at path;
// CodeInvalid when something is missing from the archive, which is whole but
// for that; CodeUnavailable when the server breaks off, CodeUnsupported when
// the agent's image has no tar.
func (c *Client) ReadFiles(ctx context.Context, agent string, id isolde.SessionID, path string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, sessionPath(id)+"/files", filesQuery(agent, path), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	from := &source{Reader: resp.Body}
	if _, err = io.Copy(w, from); err != nil && from.failure() == nil {
		return err // the writer's
	}
	if failed := from.failure(); failed != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return isolde.Errorf(isolde.CodeUnavailable, "%s broke off the copy", c.URL).
			WithHint("the session may have ended; see the server's log").WithCause(failed)
	}
	if text := resp.Trailer.Get(filesTrailer); text != "" {
		var b ErrorBody
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			return b.asError()
		}
	}
	return nil
}

// WriteFiles unpacks a tar in a folder of a session that runs, as the user that
// the agent runs as. Errors are those of ReadFiles; CodeNotFound when there is
// no such folder.
func (c *Client) WriteFiles(ctx context.Context, agent string, id isolde.SessionID, dir string, archive io.Reader) error {
	resp, err := c.do(ctx, http.MethodPut, sessionPath(id)+"/files", filesQuery(agent, dir), "application/x-tar", archive)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func filesQuery(agent, path string) url.Values {
	q := query("agent", agent)
	q.Set("path", path)
	return q
}
