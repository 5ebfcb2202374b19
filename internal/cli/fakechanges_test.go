package cli

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/operator"
)

// changingAgents are agents that something is under way with; how that ends
// they are named after. The fake's list leaves them out, to be short.
func changingAgents() []operator.Agent {
	building, failing, leaving, stuck := fakeAgent("building", 1), fakeAgent("failing", 2), fakeAgent("leaving", 1), fakeAgent("stuck", 1)
	building.Status, failing.Status = isolde.StatusCreating, isolde.StatusUpdating
	leaving.Status, stuck.Status = isolde.StatusDeleting, isolde.StatusCreating
	broken := fakeAgent("broken", 4)
	broken.Status = isolde.StatusUpdateFailed
	broken.FailureReason = "cannot install dependencies: no package \"nonesuch\"\n" + strings.Repeat("pip said more\n", 20)
	artifact := func(a isolde.Artifact) isolde.VersionSpec { return isolde.VersionSpec{Artifact: &a} }
	broken.Versions = append([]isolde.Version{{
		Number: 4, Status: isolde.StatusUpdateFailed, CreatedAt: fakeTime, FailureReason: broken.FailureReason,
		Spec: artifact(isolde.Artifact{Code: &isolde.CodeArtifact{
			Code: isolde.CodeLocation{S3: &isolde.S3Location{Bucket: "builds", Key: "a.zip"}}, Runtime: isolde.RuntimePython312, Entrypoint: []string{"main.py"},
		}}),
	}, {
		Number: 3, Status: isolde.StatusReady, CreatedAt: fakeTime, Spec: artifact(isolde.Artifact{Container: &isolde.ContainerArtifact{URI: "ghcr.io/me/agent:1"}}),
	}}, broken.Versions...)
	broken.Versions[2].Number = 2
	broken.Endpoints[0].Version, broken.Endpoints[0].Target = 3, 4
	broken.Endpoints[0].Status, broken.Endpoints[0].FailureReason = broken.Status, broken.FailureReason
	return []operator.Agent{building, failing, leaving, stuck, broken}
}

// readFiles has a file at /tmp/report.txt, and an agent that wants out at
// /tmp/evil.
func (s *fakeServer) readFiles(w http.ResponseWriter, r *http.Request) {
	name := map[string]string{"/tmp/report.txt": "report.txt", "/tmp/evil": "../evil"}[r.URL.Query().Get("path")]
	if name == "" {
		fail(w, isolde.CodeNotFound, "tar: nothing: Cannot stat: No such file or directory", "")
		return
	}
	out := tar.NewWriter(w)
	_ = out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 5})
	_, _ = out.Write([]byte("text\n"))
	_ = out.Close()
}

// writeFiles takes a folder with a file a, in /tmp, and nothing else.
func (s *fakeServer) writeFiles(w http.ResponseWriter, r *http.Request) {
	names := []string{r.URL.Query().Get("path")}
	for t := tar.NewReader(r.Body); ; {
		h, err := t.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != "/tmp folder/ folder/a" && got != "/tmp other/ other/a" {
		fail(w, isolde.CodeInvalid, "got "+got, "")
		return
	}
	reply(w, struct{}{})
}

// listAgents leaves out what a server's list does, and changingAgents.
func (s *fakeServer) listAgents(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []operator.Agent{}
	for _, a := range s.agents {
		if a.Status == isolde.StatusReady {
			a.Versions, a.Endpoints = nil, nil
			list = append(list, a)
		}
	}
	reply(w, list)
}

func (s *fakeServer) named(w http.ResponseWriter, r *http.Request) (*operator.Agent, bool) {
	i := s.find(r.PathValue("agent"))
	if i < 0 {
		fail(w, isolde.CodeNotFound, fmt.Sprintf("no agent runtime %q", r.PathValue("agent")), "")
		return nil, false
	}
	return &s.agents[i], true
}

func (s *fakeServer) build(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	a, ok := s.named(w, r)
	s.mu.Unlock()
	if !ok {
		return
	}
	if a.Status != isolde.StatusReady && a.Status != isolde.StatusDeleting {
		encode(w, operator.DeployEvent{Progress: &image.Progress{Stage: "artifact", Message: "fetched s3://builds/a.zip"}})
	}
	failed := func(code isolde.Code, message string) {
		encode(w, operator.DeployEvent{Error: &operator.ErrorBody{Code: code, Message: message}})
	}
	switch a.Name {
	case "failing":
		failed(isolde.CodeInvalid, `version 2 of agent failing is UPDATE_FAILED: no package "nonesuch"`)
	case "leaving":
		failed(isolde.CodeNotFound, "no agent runtime leaving")
	case "stuck":
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		encode(w, operator.DeployEvent{Result: &operator.Deployed{ARN: a.ARN, ID: a.ID, Name: a.Name, Version: a.Latest, Status: isolde.StatusReady}})
	}
}

// endpoint makes, changes and deletes endpoints. Version 13 cannot be served.
func (s *fakeServer) endpoint(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.named(w, r)
	if !ok {
		return
	}
	name := isolde.EndpointName(r.PathValue("name"))
	i := slices.IndexFunc(a.Endpoints, func(e isolde.Endpoint) bool { return e.Name == name })
	if r.Method == http.MethodDelete {
		if i < 0 {
			fail(w, isolde.CodeNotFound, fmt.Sprintf("agent runtime %s has no endpoint %q", a.ID, name), "")
			return
		}
		a.Endpoints = slices.Delete(a.Endpoints, i, i+1)
		reply(w, struct{}{})
		return
	}
	var change operator.EndpointChange
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		fail(w, isolde.CodeMalformed, err.Error(), "")
		return
	}
	if i < 0 {
		i = len(a.Endpoints)
		a.Endpoints = append(a.Endpoints, isolde.Endpoint{Runtime: a.ID, Name: name, Target: a.Latest})
	}
	e := &a.Endpoints[i]
	if change.Version != 0 {
		e.Target = change.Version
	}
	if change.Description != nil {
		e.Description = *change.Description
	}
	e.Status, e.Version, e.UpdatedAt = isolde.StatusReady, e.Target, fakeTime
	if e.Target == 13 {
		e.Status, e.FailureReason = isolde.StatusUpdateFailed, "the image is gone"
	}
	reply(w, e)
}

// deployArtifact answers with what it was sent, as progress.
func (s *fakeServer) deployArtifact(w http.ResponseWriter, r *http.Request) {
	var d operator.Deployment
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		fail(w, isolde.CodeInvalid, err.Error(), "")
		return
	}
	text, _ := json.Marshal(d)
	encode(w, operator.DeployEvent{Progress: &image.Progress{Stage: "artifact", Message: string(text)}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(w, d)
}

// routeBackups adds a server's backup, and below /refusing and /breaking those
// that go wrong before and after their first byte.
func (s *fakeServer) routeBackups(mux *http.ServeMux) {
	const route = "/isolde/v1/backup"
	mux.HandleFunc("GET "+route, func(w http.ResponseWriter, r *http.Request) {
		out := tar.NewWriter(w)
		add := func(name, text string) {
			_ = out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))})
			_, _ = out.Write([]byte(text))
		}
		add("manifest.json", `{"version": "v0.1.0"}`)
		add("isolde.db", "a database")
		if r.URL.Query().Get("databaseOnly") != "true" {
			add("images/one.erofs", strings.Repeat("x", 1<<20))
		}
		_ = out.Close()
	})
	mux.HandleFunc("GET /refusing"+route, func(w http.ResponseWriter, _ *http.Request) {
		fail(w, isolde.CodeInternal, "the disk of the data directory is full", "free space")
	})
	mux.HandleFunc("GET /breaking"+route, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}
