package cli

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/operator"
)

// fakeServer speaks the operator API and the data plane, and plays canned
// answers: how the agent behaves is the first word of its prompt. It has the
// agents weather and calc from the start, and those of changingAgents.
type fakeServer struct {
	*httptest.Server
	gate chan struct{} // a prompt of "wait" goes on when it can receive

	mu       sync.Mutex
	agents   []operator.Agent
	sessions []operator.Session
	requests int
	uploads  []string              // names in the last tar stream
	specs    []operator.Deployment // in the order of deployment
	follow   chan operator.LogLine // further lines for a follower of the logs
}

func newFakeServer() *fakeServer {
	s := &fakeServer{gate: make(chan struct{}), follow: make(chan operator.LogLine)}
	s.agents = []operator.Agent{fakeAgent("calc", 1), fakeAgent("weather", 3)}
	s.agents = append(s.agents, changingAgents()...)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /isolde/v1/info", func(w http.ResponseWriter, r *http.Request) {
		reply(w, fakeInfo)
	})
	mux.HandleFunc("GET /elsewhere/isolde/v1/info", func(w http.ResponseWriter, r *http.Request) {
		info := fakeInfo
		info.S3 = "https://s3.example.com"
		reply(w, info)
	})
	mux.HandleFunc("GET /isolde/v1/agents", s.listAgents)
	mux.HandleFunc("GET /isolde/v1/agents/{agent}", s.agent)
	mux.HandleFunc("DELETE /isolde/v1/agents/{agent}", s.agent)
	mux.HandleFunc("GET /isolde/v1/agents/{agent}/build", s.build)
	mux.HandleFunc("PUT /isolde/v1/agents/{agent}/endpoints/{name}", s.endpoint)
	mux.HandleFunc("DELETE /isolde/v1/agents/{agent}/endpoints/{name}", s.endpoint)
	s.routeBackups(mux)
	mux.HandleFunc("GET /isolde/v1/sessions", s.listSessions)
	mux.HandleFunc("DELETE /isolde/v1/sessions", s.stopSessions)
	mux.HandleFunc("GET /isolde/v1/sessions/watch", s.watchSessions)
	mux.HandleFunc("GET /isolde/v1/sessions/{session}", s.getSession)
	mux.HandleFunc("GET /isolde/v1/sessions/{session}/health", s.health)
	mux.HandleFunc("GET /isolde/v1/sessions/{session}/files", s.readFiles)
	mux.HandleFunc("PUT /isolde/v1/sessions/{session}/files", s.writeFiles)
	mux.HandleFunc("POST /isolde/v1/sessions/{session}/commands", func(w http.ResponseWriter, r *http.Request) { // test -d
		encode(w, operator.CommandEvent{Exit: &operator.CommandExit{Code: 1}})
	})
	mux.HandleFunc("DELETE /isolde/v1/sessions/{session}", s.stopSession)
	mux.HandleFunc("POST /isolde/v1/deployments", s.deploy)
	mux.HandleFunc("GET /isolde/v1/logs", s.logs)
	mux.HandleFunc("POST /runtimes/{arn}/invocations", s.invoke)
	s.Server = httptest.NewServer(mux)
	return s
}

var fakeInfo = operator.Info{Version: "v0.1.0", Region: "eu-central-1", Account: "123456789012", Driver: "gvisor", S3: operator.S3Embedded}

var fakeTime = time.Now().Add(-3 * time.Hour)

func fakeAgent(name string, version isolde.VersionNumber) operator.Agent {
	id := isolde.RuntimeID(name + "-AbCdEf0123")
	return operator.Agent{
		AgentRuntime: isolde.AgentRuntime{ID: id, Name: name, Status: isolde.StatusReady, Latest: version, CreatedAt: fakeTime, UpdatedAt: fakeTime},
		ARN:          isolde.Locality{Region: "eu-central-1", Account: "123456789012"}.RuntimeARN(id),
		Versions: []isolde.Version{{
			Runtime: id, Number: version, Status: isolde.StatusReady, CreatedAt: fakeTime,
			Spec: isolde.VersionSpec{Entrypoint: []string{"agent.py"}},
		}},
		Endpoints: []isolde.Endpoint{{Runtime: id, Name: isolde.DefaultEndpoint, Version: version, Status: isolde.StatusReady}},
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encode(w, v)
}

// encode writes a line of JSON. A caller that is gone does not matter here.
func encode(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) }

func fail(w http.ResponseWriter, code isolde.Code, message, hint string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code.HTTPStatus())
	encode(w, map[string]any{"error": operator.ErrorBody{Code: code, Message: message, Hint: hint}})
}

// find is the index of an agent by id, name or ARN, or -1. s.mu is held.
func (s *fakeServer) find(ref string) int {
	return slices.IndexFunc(s.agents, func(a operator.Agent) bool {
		return ref == a.Name || ref == string(a.ID) || ref == a.ARN
	})
}

func (s *fakeServer) agent(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(r.PathValue("agent"))
	if i < 0 {
		fail(w, isolde.CodeNotFound, fmt.Sprintf("no agent runtime %q", r.PathValue("agent")), "")
		return
	}
	if r.Method == http.MethodDelete {
		s.agents = slices.Delete(s.agents, i, i+1)
		reply(w, struct{}{})
		return
	}
	reply(w, s.agents[i])
}

// selected is the sessions that a query asks for. s.mu is held.
func (s *fakeServer) selected(q url.Values) []operator.Session {
	out := []operator.Session{}
	for _, x := range s.sessions {
		if ref := q.Get("agent"); ref != "" && ref != x.AgentName && ref != string(x.Runtime) {
			continue
		}
		if !strings.HasPrefix(string(x.ID), q.Get("prefix")) {
			continue
		}
		if x.State == isolde.SessionStopped && q.Get("all") != "true" {
			continue
		}
		out = append(out, x)
	}
	return out
}

func (s *fakeServer) listSessions(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply(w, operator.SessionList{Sessions: s.selected(r.URL.Query())})
}

func (s *fakeServer) getSession(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		if string(x.ID) == r.PathValue("session") {
			reply(w, x)
			return
		}
	}
	fail(w, isolde.CodeNotFound, "no session "+r.PathValue("session"), "isolde session ls lists them")
}

// watchSessions tells of the sessions there are, and that the server ends.
func (s *fakeServer) watchSessions(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	q.Set("all", "true")
	for _, x := range s.selected(q) {
		encode(w, operator.WatchEvent{Session: &x})
	}
	encode(w, operator.WatchEvent{Synced: true})
}

// health says that sessions are healthy whose ids do not hold "bob".
func (s *fakeServer) health(w http.ResponseWriter, r *http.Request) {
	h := operator.Health{AgentName: "weather", Session: isolde.SessionID(r.PathValue("session")), State: isolde.SessionIdle, Milliseconds: 1.5}
	if strings.Contains(r.PathValue("session"), "bob") {
		h.Status, h.Error = http.StatusServiceUnavailable, "GET /ping answered 503 Service Unavailable"
	} else {
		h.Healthy, h.Status, h.Answer = true, http.StatusOK, `{"status":"Healthy"}`
	}
	reply(w, h)
}

func (s *fakeServer) stopSession(w http.ResponseWriter, r *http.Request) {
	s.stop(w, func(x operator.Session) bool { return string(x.ID) == r.PathValue("session") })
}

func (s *fakeServer) stopSessions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.stop(w, func(x operator.Session) bool {
		return (q.Get("agent") == "" || q.Get("agent") == x.AgentName) && (!q.Has("state") || slices.Contains(q["state"], string(x.State)))
	})
}

func (s *fakeServer) stop(w http.ResponseWriter, which func(operator.Session) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out operator.StopResult
	for i, x := range s.sessions {
		if x.State != isolde.SessionStopped && which(x) {
			s.sessions[i].State = isolde.SessionStopped
			s.sessions[i].EndedAt, s.sessions[i].EndCause, s.sessions[i].EndReason = time.Now(), isolde.EndOperator, "was stopped by the operator"
			out.Stopped = append(out.Stopped, x.ID)
		}
	}
	reply(w, out)
}

// put inserts or changes a session.
func (s *fakeServer) put(agent operator.Agent, id isolde.SessionID, change func(*operator.Session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.sessions, func(x operator.Session) bool { return x.ID == id && x.Runtime == agent.ID })
	if i < 0 {
		i = len(s.sessions)
		s.sessions = append(s.sessions, operator.Session{AgentName: agent.Name, Session: isolde.Session{
			Runtime: agent.ID, ID: id, Version: agent.Latest, Driver: "gvisor", StartedAt: fakeTime, LastActiveAt: fakeTime, ExpiresAt: fakeTime.Add(8 * time.Hour),
		}})
	}
	s.sessions[i].State = isolde.SessionIdle
	change(&s.sessions[i])
}

// deploy takes an upload or an artifact. A file "broken" in it does not build.
func (s *fakeServer) deploy(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") == "application/json" {
		s.deployArtifact(w, r)
		return
	}
	form, err := r.MultipartReader()
	if err != nil {
		fail(w, isolde.CodeInvalid, err.Error(), "")
		return
	}
	spec, _ := form.NextPart()
	var d operator.Deployment
	if err := json.NewDecoder(spec).Decode(&d); err != nil {
		fail(w, isolde.CodeInvalid, err.Error(), "")
		return
	}
	source, _ := form.NextPart()
	var names []string
	for t := tar.NewReader(source); ; {
		h, err := t.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/x-ndjson")
	line := func(e operator.DeployEvent) { encode(w, e) }
	line(operator.DeployEvent{Progress: &image.Progress{Stage: "base", Message: "Python 3.11", Cached: true}})
	line(operator.DeployEvent{Progress: &image.Progress{Stage: "dependencies", Message: "installing 34 packages with uv"}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads = names
	if slices.Contains(names, "broken") {
		line(operator.DeployEvent{Error: &operator.ErrorBody{
			Code: isolde.CodeInvalid, Message: `requirements.txt: no package "nonesuch"`, Hint: "check its name on PyPI",
		}})
		return
	}
	s.publish(w, d)
}

// publish answers with the next version. s.mu is held.
func (s *fakeServer) publish(w io.Writer, d operator.Deployment) {
	s.specs = append(s.specs, d)
	i := s.find(d.Name)
	created := i < 0
	if created {
		i = len(s.agents)
		s.agents = append(s.agents, fakeAgent(d.Name, 0))
	}
	s.agents[i].Latest++
	a := s.agents[i]
	encode(w, operator.DeployEvent{Result: &operator.Deployed{
		ARN: a.ARN, ID: a.ID, Name: a.Name, Version: a.Latest, Status: isolde.StatusReady, Created: created, Changed: true,
	}})
}

func (s *fakeServer) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("tail") != "0" {
		second := "tail " + q.Get("tail")
		if q.Get("since") != "" {
			second = "since " + q.Get("since")
		}
		if q.Get("request") != "" {
			second = "request " + q.Get("request")
		}
		for i, text := range []string{"starting", second} {
			session := isolde.SessionID(fmt.Sprintf("%08d-0000-0000-0000-000000000000", i+1))
			if want := q.Get("session"); want == "" || want == string(session) {
				encode(w, operator.LogLine{Agent: "weather", Session: session, Line: text})
			}
		}
	}
	http.NewResponseController(w).Flush()
	for q.Get("follow") == "true" {
		select {
		case l := <-s.follow:
			encode(w, l)
			http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// invoke is the data plane.
func (s *fakeServer) invoke(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	request := fmt.Sprintf("request-%d", s.requests)
	i := s.find(r.PathValue("arn"))
	var agent operator.Agent
	if i >= 0 {
		agent = s.agents[i]
	}
	s.mu.Unlock()
	session := isolde.SessionID(r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"))
	h := w.Header()
	h.Set("X-Amzn-RequestId", request)
	h.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", string(session))
	exception := func(code isolde.Code, message string) {
		h.Set("Content-Type", "application/json")
		h.Set("X-Amzn-ErrorType", code.Exception())
		w.WriteHeader(code.HTTPStatus())
		encode(w, map[string]string{"message": message})
	}
	if i < 0 {
		exception(isolde.CodeNotFound, "no such agent")
		return
	}
	body, _ := io.ReadAll(r.Body)
	var p struct{ Prompt string }
	_ = json.Unmarshal(body, &p) // what is no prompt has none
	s.put(agent, session, func(x *operator.Session) {
		x.Requests++
		x.User = r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-User-Id")
	})
	part := func(text string) {
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, text)
		_ = http.NewResponseController(w).Flush()
	}
	switch word, _, _ := strings.Cut(p.Prompt, " "); word {
	case "stream":
		part("data: \"It is \"\n\n")
		part("data: \"sunny\\n\"\n\ndata: {\"a\":\n")
		part("data: 1}\n\n")
	case "wait":
		part("data: \"first\"\n\n")
		select {
		case s.gate <- struct{}{}:
			part("data: \" second\"\n\n")
		case <-r.Context().Done():
		}
	case "inband":
		part("data: \"so far\"\n\n")
		part("data: {\"error\": \"mid\", \"error_type\": \"RuntimeError\", \"message\": \"An error occurred during streaming\"}\n\n")
	case "cut":
		part("data: \"so far\"\n\n")
		panic(http.ErrAbortHandler)
	case "raise":
		s.put(agent, session, func(x *operator.Session) {
			x.LastError = &isolde.AgentError{Time: time.Now(), Request: request, Status: 500, Message: "Traceback:\n  boom"}
		})
		exception(isolde.CodeAgent, "Received error (500) from runtime. Please check your CloudWatch logs for more information.")
	case "throttle":
		exception(isolde.CodeThrottled, "too many sessions")
	case "string":
		reply(w, "hé\n<b>")
	default:
		reply(w, map[string]any{
			"body": string(body), "contentType": r.Header.Get("Content-Type"), "accept": r.Header.Get("Accept"), "session": session,
			"user": r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-User-Id"), "qualifier": r.URL.Query().Get("qualifier"),
			"custom": r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Custom-Team"), "agent": agent.Name,
		})
	}
}

func (s *fakeServer) state(id isolde.SessionID) isolde.SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		if x.ID == id {
			return x.State
		}
	}
	return ""
}
