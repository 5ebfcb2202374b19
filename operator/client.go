package operator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
)

// Client calls the operator API of a server. Every error it returns is an
// [isolde.Error]: the server's, or CodeUnavailable when there is no answer.
type Client struct {
	URL  string       // e.g. "http://127.0.0.1:4765"
	HTTP *http.Client // nil: http.DefaultClient
}

// Info asks the server about itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return get[Info](ctx, c, http.MethodGet, "/isolde/v1/info", nil)
}

// Alive asks the server whether it serves, which needs no credentials.
func (c *Client) Alive(ctx context.Context) (Alive, error) {
	return get[Alive](ctx, c, http.MethodGet, "/healthz", nil)
}

// Agents lists the agent runtimes by name, without their versions and
// endpoints.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	return get[[]Agent](ctx, c, http.MethodGet, "/isolde/v1/agents", nil)
}

// Agent finds an agent runtime by id, name or ARN.
func (c *Client) Agent(ctx context.Context, idOrName string) (Agent, error) {
	return get[Agent](ctx, c, http.MethodGet, agentPath(idOrName), nil)
}

// DeleteAgent ends what is under way with an agent, its sessions included,
// and returns when it is gone.
func (c *Client) DeleteAgent(ctx context.Context, idOrName string) error {
	_, err := get[struct{}](ctx, c, http.MethodDelete, agentPath(idOrName), nil)
	return err
}

func agentPath(agent string) string { return "/isolde/v1/agents/" + url.PathEscape(agent) }

func endpointPath(agent string, name isolde.EndpointName) string {
	return agentPath(agent) + "/endpoints/" + url.PathEscape(string(name))
}

// Endpoints lists the endpoints of an agent by name.
func (c *Client) Endpoints(ctx context.Context, agent string) ([]isolde.Endpoint, error) {
	l, err := get[EndpointList](ctx, c, http.MethodGet, agentPath(agent)+"/endpoints", nil)
	return l.Endpoints, err
}

// PutEndpoint makes or changes an endpoint and returns it when nothing is
// under way with it any more; its Status may be a failure.
func (c *Client) PutEndpoint(ctx context.Context, agent string, name isolde.EndpointName, change EndpointChange) (isolde.Endpoint, error) {
	var e isolde.Endpoint
	body, err := json.Marshal(change)
	if err != nil {
		return e, fmt.Errorf("encode change: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPut, endpointPath(agent, name), nil, "application/json", bytes.NewReader(body))
	if err != nil {
		return e, err
	}
	defer resp.Body.Close()
	return decode[isolde.Endpoint](resp)
}

// DeleteEndpoint removes an endpoint and returns when it is gone.
func (c *Client) DeleteEndpoint(ctx context.Context, agent string, name isolde.EndpointName) error {
	_, err := get[struct{}](ctx, c, http.MethodDelete, endpointPath(agent, name), nil)
	return err
}

// Backup writes a copy of the server to w while it serves, as a tar stream:
// manifest.json, then the files of a data directory; the database alone if
// asked for. CodeUnavailable when the server breaks off; what was written is
// no backup then.
func (c *Client) Backup(ctx context.Context, w io.Writer, databaseOnly bool) error {
	q := url.Values{}
	if databaseOnly {
		q.Set("databaseOnly", "true")
	}
	resp, err := c.do(ctx, http.MethodGet, "/isolde/v1/backup", q, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	from := &source{Reader: resp.Body}
	if _, err = io.Copy(w, from); from.failure() == nil {
		return err // the writer's
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return isolde.Errorf(isolde.CodeUnavailable, "%s broke off the backup", c.URL).WithHint("see the server's log").WithCause(from.failure())
}

// source is a reader that remembers how it failed. It may be asked for that
// while it is read.
type source struct {
	io.Reader
	failed atomic.Pointer[error]
}

func (s *source) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed.Store(&err)
	}
	return n, err
}

// Wait waits until nothing is under way with an agent runtime. progress gets
// the steps of a build from its first, and may be nil. Errors: CodeInvalid
// with the failure reason when the newest version could not be built,
// CodeNotFound when the agent is gone.
func (c *Client) Wait(ctx context.Context, agent string, progress func(image.Progress)) (Deployed, error) {
	resp, err := c.do(ctx, http.MethodGet, agentPath(agent)+"/build", nil, "", nil)
	if err != nil {
		return Deployed{}, err
	}
	return c.readDeployment(ctx, resp, progress)
}

// Deploy makes the newest version of an agent, of the folder or, if d's spec
// has one, of its artifact, and waits until it is READY. progress may be nil.
func (c *Client) Deploy(ctx context.Context, d Deployment, folder string, progress func(image.Progress)) (Deployed, error) {
	if d.Spec.Artifact != nil {
		body, err := json.Marshal(d)
		if err != nil {
			return Deployed{}, fmt.Errorf("encode deployment: %w", err)
		}
		return c.deploy(ctx, "application/json", bytes.NewReader(body), progress)
	}
	body, out := io.Pipe()
	form := multipart.NewWriter(out)
	packed := make(chan error, 1)
	go func() {
		err := writeDeployment(form, d, folder)
		out.CloseWithError(err)
		packed <- err
	}()
	result, err := c.deploy(ctx, form.FormDataContentType(), body, progress)
	body.Close() // ends the writer if the server did not read all
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return Deployed{}, perr // the folder could not be read: the cause of whatever the server said
	}
	return result, err
}

func (c *Client) deploy(ctx context.Context, contentType string, body io.Reader, progress func(image.Progress)) (Deployed, error) {
	resp, err := c.do(ctx, http.MethodPost, "/isolde/v1/deployments", nil, contentType, body)
	if err != nil {
		return Deployed{}, err
	}
	return c.readDeployment(ctx, resp, progress)
}

// readDeployment reads a stream of DeployEvent to its end.
func (c *Client) readDeployment(ctx context.Context, resp *http.Response, progress func(image.Progress)) (Deployed, error) {
	defer resp.Body.Close()
	for e, err := range lines[DeployEvent](resp.Body) {
		switch {
		case ctx.Err() != nil:
			return Deployed{}, context.Cause(ctx)
		case err != nil:
			return Deployed{}, err
		case e.Error != nil:
			return Deployed{}, e.Error.asError()
		case e.Result != nil:
			return *e.Result, nil
		case e.Progress != nil && progress != nil:
			progress(*e.Progress)
		}
	}
	return Deployed{}, isolde.Errorf(isolde.CodeUnavailable, "%s broke off its answer", c.URL).
		WithHint("see the server's log")
}

func writeDeployment(form *multipart.Writer, d Deployment, folder string) error {
	part := func(name, contentType string) (io.Writer, error) {
		return form.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf("form-data; name=%q", name)},
			"Content-Type":        {contentType},
		})
	}
	w, err := part("spec", "application/json")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(d); err != nil {
		return err
	}
	if w, err = part("source", "application/x-tar"); err != nil {
		return err
	}
	if err := image.Pack(w, folder); err != nil {
		return err
	}
	return form.Close()
}

// LogOptions select what [Client.Logs] streams.
type LogOptions struct {
	Agent   string
	Session isolde.SessionID
	Follow  bool
	Tail    int       // lines from the end of each session's output; 0 is the server's default, -1 all
	Since   time.Time // what was written later, or up to 2 s before; zero: Tail counts
	Request string    // lines that name this request, or were written while it ran and name no other
	New     bool      // with Tail 0: only what is written from now on
}

// Logs streams output until it ends, ctx does, or the caller stops.
func (c *Client) Logs(ctx context.Context, o LogOptions) iter.Seq2[LogLine, error] {
	q := query("agent", o.Agent)
	if o.Session != "" {
		q.Set("session", string(o.Session))
	}
	if o.Follow {
		q.Set("follow", "true")
	}
	if !o.Since.IsZero() {
		q.Set("since", o.Since.UTC().Format(time.RFC3339Nano))
	}
	if o.Request != "" {
		q.Set("request", o.Request)
	}
	if o.Tail != 0 || o.New {
		q.Set("tail", strconv.Itoa(o.Tail))
	}
	return func(yield func(LogLine, error) bool) {
		resp, err := c.do(ctx, http.MethodGet, "/isolde/v1/logs", q, "", nil)
		if err != nil {
			yield(LogLine{}, err)
			return
		}
		defer resp.Body.Close()
		for l, err := range lines[LogLine](resp.Body) {
			if !yield(l, err) {
				return
			}
		}
	}
}

func query(k, v string) url.Values {
	if v == "" {
		return url.Values{}
	}
	return url.Values{k: {v}}
}

func get[T any](ctx context.Context, c *Client, method, path string, q url.Values) (T, error) {
	resp, err := c.do(ctx, method, path, q, "", nil)
	if err != nil {
		var none T
		return none, err
	}
	defer resp.Body.Close()
	return decode[T](resp)
}

func decode[T any](resp *http.Response) (T, error) {
	var v T
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, isolde.Errorf(isolde.CodeUnavailable, "the answer of %s is not JSON: %w", resp.Request.URL, err).
			WithHint("is it an Isolde server?")
	}
	return v, nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, contentType string, body io.Reader) (*http.Response, error) {
	u := strings.TrimSuffix(c.URL, "/") + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "server %q is not a URL", c.URL).WithHint("for example http://127.0.0.1:4765")
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, isolde.Errorf(isolde.CodeUnavailable, "no Isolde server answers at %s", c.URL).
			WithHint("start one with: isolde serve; or name another with --server or ISOLDE_SERVER").WithCause(err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

func readError(resp *http.Response) error {
	var b struct{ Error ErrorBody }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&b); err != nil || b.Error.Code == "" {
		return isolde.Errorf(isolde.CodeUnavailable, "%s answered %s", resp.Request.URL, resp.Status).WithHint("is it an Isolde server?")
	}
	return b.Error.asError()
}

func (b *ErrorBody) asError() error {
	return &isolde.Error{Code: b.Code, Message: b.Message, Hint: b.Hint}
}

// lines decodes a stream of JSON lines. A stream that breaks off ends with
// CodeUnavailable.
func lines[T any](r io.Reader) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		dec := json.NewDecoder(br)
		for {
			var v T
			err := dec.Decode(&v)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(v, isolde.Errorf(isolde.CodeUnavailable, "the server broke off its answer").WithCause(err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}
