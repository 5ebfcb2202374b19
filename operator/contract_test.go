package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// contract is between every test's client and the server, and holds both to
// openapi.yaml: requests, answers, and each line of a stream. It is stricter
// than the document, which lets clients meet members that they do not know:
// here no answer has a member, and no request a parameter, that it does not
// tell of.
type contract struct {
	t        *testing.T
	next     http.RoundTripper
	document *openapi3.T
	mux      *http.ServeMux // finds the operation of a request by its pattern

	mu   sync.Mutex
	used map[string]bool // patterns of the operations that answered with 200
}

var parseDescription = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err == nil {
		err = doc.Validate(context.Background())
	}
	if err != nil {
		return nil, err
	}
	for _, s := range doc.Components.Schemas {
		forbidOthers(s)
	}
	for _, r := range doc.Components.Responses {
		forbidOthers(r.Value.Content.Get("application/json").Schema)
	}
	return doc, nil
})

// forbidOthers lets an object have no members but the described ones.
func forbidOthers(s *openapi3.SchemaRef) {
	if s == nil || s.Ref != "" {
		return
	}
	if len(s.Value.Properties) > 0 {
		no := false
		s.Value.AdditionalProperties.Has = &no
	}
	for _, p := range s.Value.Properties {
		forbidOthers(p)
	}
	forbidOthers(s.Value.Items)
}

func newContract(t *testing.T, next http.RoundTripper) *contract {
	t.Helper()
	doc, err := parseDescription()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	c := &contract{t: t, next: next, document: doc, mux: http.NewServeMux(), used: make(map[string]bool)}
	for _, pattern := range described(doc) {
		c.mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	}
	return c
}

// described are the patterns of the document's operations.
func described(doc *openapi3.T) (patterns []string) {
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			patterns = append(patterns, method+" "+path)
		}
	}
	slices.Sort(patterns)
	return patterns
}

// RoundTrip implements http.RoundTripper.
func (c *contract) RoundTrip(r *http.Request) (*http.Response, error) {
	_, pattern := c.mux.Handler(r)
	method, path, _ := strings.Cut(pattern, " ")
	if pattern == "" {
		c.t.Errorf("%s %s is not described", r.Method, r.URL.Path)
		return c.next.RoundTrip(r)
	}
	item := c.document.Paths.Value(path)
	op := item.GetOperation(method)
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: pathParams(path, r.URL), QueryParams: r.URL.Query(),
		Route:   &routers.Route{Spec: c.document, Path: path, PathItem: item, Method: method, Operation: op},
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeRequestBody: !isJSON(r.Header), SkipSettingDefaults: true},
	}
	wrong := openapi3filter.ValidateRequest(r.Context(), input)
	for name := range input.QueryParams {
		known := func(p *openapi3.ParameterRef) bool { return p.Value.In == "query" && p.Value.Name == name }
		if !slices.ContainsFunc(slices.Concat(item.Parameters, op.Parameters), known) {
			c.t.Errorf("%s has the query parameter %s, which is not described", pattern, name)
		}
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	if wrong != nil && resp.StatusCode < 300 {
		c.t.Errorf("%s %s was served against the description: %v", r.Method, r.URL, wrong)
	}
	if resp.StatusCode == http.StatusOK {
		c.mu.Lock()
		c.used[pattern] = true
		c.mu.Unlock()
	}
	return resp, c.check(input, pattern, resp)
}

// check holds an answer to the description; a stream, while it is read.
func (c *contract) check(input *openapi3filter.RequestValidationInput, pattern string, resp *http.Response) error {
	answer := input.Route.Operation.Responses.Status(resp.StatusCode)
	if answer == nil {
		answer = input.Route.Operation.Responses.Default()
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	media := answer.Value.Content[kind]
	switch {
	case media == nil:
		c.t.Errorf("%s answered %d with %s, which is not described", pattern, resp.StatusCode, kind)
	case kind == "application/x-ndjson":
		resp.Body = &checkedLines{ReadCloser: resp.Body, c: c, pattern: pattern, schema: media.Schema.Value}
	case kind == "application/json":
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		resp.Body.Close()
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Options: input.Options}
		if err := openapi3filter.ValidateResponse(input.Request.Context(), out.SetBodyBytes(body)); err != nil {
			c.t.Errorf("%s answered %d with %s: %v", pattern, resp.StatusCode, body, err)
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	return nil
}

// checkedLines is a stream whose lines are checked as they pass.
type checkedLines struct {
	io.ReadCloser
	c       *contract
	pattern string
	schema  *openapi3.Schema
	rest    []byte
}

func (l *checkedLines) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	l.rest = append(l.rest, p[:n]...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
		if !whole {
			return n, err
		}
		l.rest = rest
		var v any
		if wrong := json.Unmarshal(line, &v); wrong != nil {
			l.c.t.Errorf("%s: line %s: %v", l.pattern, line, wrong)
		} else if wrong := l.schema.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse()); wrong != nil {
			l.c.t.Errorf("%s: line %s: %v", l.pattern, line, wrong)
		}
	}
}

func isJSON(h http.Header) bool { return h.Get("Content-Type") == "application/json" }

// pathParams are the values of a pattern's wildcards.
func pathParams(pattern string, u *url.URL) map[string]string {
	params := make(map[string]string)
	values := strings.Split(u.EscapedPath(), "/")
	for i, part := range strings.Split(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			params[strings.TrimSuffix(name, "}")], _ = url.PathUnescape(values[i])
		}
	}
	return params
}

func TestDescriptionHasEveryRoute(t *testing.T) {
	doc, err := parseDescription()
	if err != nil {
		t.Fatal(err)
	}
	routes := slices.Sorted(maps.Keys((&Handler{}).routes()))
	if diff := cmp.Diff(routes, described(doc)); diff != "" {
		t.Errorf("routes of the handler and of openapi.yaml (-handler +openapi.yaml):\n%s", diff)
	}
}

// TestContract drives every operation once, through contract, which checks
// what comes and goes. The other tests go through it as well.
func TestContract(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script {
		return sandboxtest.Script{Exec: func(_ context.Context, cmd sandbox.Command) (int, error) {
			if cmd.Args[0] == "tar" {
				return 0, cmd.Stdout([]byte("an archive"))
			}
			return 3, cmd.Stdout([]byte("out"))
		}}
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	folder := t.TempDir()
	must("write", os.WriteFile(filepath.Join(folder, "agent.py"), nil, 0o600))
	_, err := b.Deploy(ctx, Deployment{Name: "folder"}, folder, nil)
	must("deploy a folder", err)
	weather := b.deploy(t, "weather", "one").ID
	_, err = b.Wait(ctx, "weather", nil)
	must("wait", err)
	_, err = b.PutEndpoint(ctx, "weather", "prod", EndpointChange{Version: 1})
	must("endpoint", err)
	_, err = getURL[isolde.Endpoint](b, t, "/isolde/v1/agents/weather/endpoints/prod")
	must("endpoint", err)
	_, err = b.Endpoints(ctx, "weather")
	must("endpoints", err)
	_, err = b.Agents(ctx)
	must("agents", err)
	_, err = b.Agent(ctx, "weather")
	must("agent", err)
	_, err = b.Info(ctx)
	must("info", err)
	must("backup", b.Backup(ctx, io.Discard, true))

	key := b.use(t, weather, "ann", 0, 1)[0]
	b.use(t, weather, "bob", 1, 3)
	for e, err := range b.Watch(ctx, SessionFilter{Agent: "weather", User: "ann", Prefix: "session"}) {
		if must("watch", err); e.Synced {
			break
		}
	}
	exit, err := b.Exec(ctx, "weather", key.Session, Command{Args: []string{"program"}}, io.Discard, io.Discard)
	if err != nil || exit.Code != 3 {
		t.Errorf("exec = %+v, %v", exit, err)
	}
	must("write files", b.WriteFiles(ctx, "", key.Session, "/folder", anArchive(t)))
	must("read files", b.ReadFiles(ctx, "weather", b.use(t, weather, "bob", 1, 2)[0].Session, "/file", io.Discard))
	_, err = b.MeasureSession(ctx, "weather", key.Session)
	must("session", err)
	_, err = b.Health(ctx, "", key.Session)
	must("health", err)
	_, err = b.StopSession(ctx, "", key.Session)
	must("stop", err)
	_, err = b.Sessions(ctx, SessionFilter{Agent: "weather", User: "ann", Ended: true, Stats: true, Limit: 1, States: []isolde.SessionState{isolde.SessionStopped, isolde.SessionIdle}})
	must("sessions", err)
	for _, err := range b.Logs(ctx, LogOptions{Agent: "weather", Session: key.Session, Tail: 10}) {
		must("logs", err)
	}
	for _, err := range b.Logs(ctx, LogOptions{Agent: "weather", Since: time.Now(), Request: "request"}) {
		must("logs of a request", err)
	}
	_, err = b.StopSessions(ctx, SessionFilter{Agent: "weather"})
	must("stop all", err)
	b.store(t, key)
	_, err = b.Storage(ctx, "weather")
	must("storage", err)
	b.stop(t, key)
	_, err = b.RemoveStorage(ctx, "weather", key.Session)
	must("remove storage", err)
	_, err = b.RemoveStorages(ctx, "weather")
	must("remove all storage", err)
	must("delete endpoint", b.DeleteEndpoint(ctx, "weather", "prod"))
	must("delete agent", b.DeleteAgent(ctx, "weather"))
	resp, err := b.do(ctx, http.MethodGet, "/isolde/v1/openapi.yaml", nil, "", nil)
	if must("description", err); err == nil {
		if text, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(text, description) {
			t.Errorf("the document is served with %d bytes, %v", len(text), err)
		}
		resp.Body.Close()
	}
	c := b.HTTP.Transport.(*contract)
	if diff := cmp.Diff(described(c.document), slices.Sorted(maps.Keys(c.used))); diff != "" {
		t.Errorf("operations that were not driven (-) :\n%s", diff)
	}
}
