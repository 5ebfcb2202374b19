package agentcore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// valid replaces the placeholders of AWS's snapshots that break constraints of
// AWS's own model: the requests are written by a generator that knows types
// only. A list holds a value for each item. What is not here is sent as it is.
var valid = map[string]any{
	"agentRuntimeName": "snapshot",
	"agentRuntimeArtifact.containerConfiguration.containerUri": "123456789012.dkr.ecr.us-west-2.amazonaws.com/agent:1",
	"agentRuntimeVersion": "1",
	"allowedPorts[].port": []any{8081, 8082},
	"clientToken":         "0123456789-0123456789-0123456789-0123456789",
	"filesystemConfigurations[].sessionStorage.mountPath":     []any{"/mnt/data", "/mnt/more/"},
	"lifecycleConfiguration.idleRuntimeSessionTimeout":        60,
	"lifecycleConfiguration.maxLifetime":                      60,
	"name":                                                    "snapshot",
	"networkConfiguration.networkModeConfig.securityGroups[]": []any{"sg-01234567", "sg-89abcdef"},
	"networkConfiguration.networkModeConfig.subnets[]":        []any{"subnet-01234567", "subnet-89abcdef"},
	"policy":                     `{"Version":"2012-10-17","Statement":[]}`, // the model bounds its length only
	"protocolConfiguration.path": "/agent",
	"protocolConfiguration.port": 8090,
	"requestHeaderConfiguration.requestHeaderAllowlist[]": []any{"Authorization", "X-Amzn-Bedrock-AgentCore-Runtime-Custom-A"},
	"roleArn": role,
	"authorizerConfiguration.customJWTAuthorizer.discoveryUrl":                                                                                          "https://idp.example.com/.well-known/openid-configuration",
	"authorizerConfiguration.customJWTAuthorizer.privateEndpoint.selfManagedLatticeResource.resourceConfigurationIdentifier":                            "rcfg-0123456789abcdefg",
	"authorizerConfiguration.customJWTAuthorizer.privateEndpointOverrides[].privateEndpoint.selfManagedLatticeResource.resourceConfigurationIdentifier": "rcfg-0123456789abcdefg",
}

// withValid replaces placeholders below a path.
func withValid(path string, index int, v any) any {
	if want, ok := valid[path]; ok {
		if list, ok := want.([]any); ok {
			return list[index]
		}
		return want
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = withValid(strings.TrimPrefix(path+"."+k, "."), index, v[k])
		}
	case []any:
		for i := range v {
			v[i] = withValid(path+"[]", i, v[i])
		}
	}
	return v
}

// snapshot is a request as the SDK's generator wrote it down.
type snapshot struct {
	method, uri string
	body        map[string]any // nil: none
}

// snapshotDir is the folder with the requests in the SDK's module.
func snapshotDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+module).Output()
	if err != nil {
		t.Fatalf("find the SDK's source: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "request_snapshot")
}

func readSnapshot(t *testing.T, dir, operation string) snapshot {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, operation+".request.snap"))
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	method, uri, _ := strings.Cut(line, " ")
	s := snapshot{method: method, uri: uri}
	if i := strings.Index(rest, "\n{"); i >= 0 {
		if err := json.Unmarshal([]byte(rest[i:]), &s.body); err != nil {
			t.Fatalf("%s: %v", operation, err)
		}
	}
	return s
}

var placeholder = regexp.MustCompile(`__\w+?__`)

// send fills the placeholders of a snapshot and sends it, byte by byte as an
// SDK would.
func (b *bed) send(t *testing.T, s snapshot, path map[string]string) answer {
	t.Helper()
	uri := placeholder.ReplaceAllStringFunc(s.uri, func(p string) string {
		if v, ok := path[strings.Trim(p, "_")]; ok {
			return url.PathEscape(v)
		}
		return p
	})
	var body bytes.Buffer
	if s.body != nil {
		if err := json.NewEncoder(&body).Encode(s.body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), s.method, b.url+uri, &body)
	if err != nil {
		t.Fatal(err)
	}
	if s.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return roundTrip(t, req)
}

// accepted sends the snapshot of an operation and wants it to succeed.
func (b *bed) accepted(t *testing.T, dir, name string, path map[string]string) (map[string]any, map[string]any) {
	t.Helper()
	s := readSnapshot(t, dir, name)
	delete(s.body, "capacityProviderConfiguration")
	withValid("", 0, s.body)
	op := operationNamed(t, name)
	a := b.send(t, s, path)
	if want := op.http().Code; a.status != want {
		t.Fatalf("%s answered %d, want %d: %s", name, a.status, want, a.body)
	}
	if len(a.body) == 0 {
		return s.body, nil
	}
	return s.body, object(t, a.body)
}

// TestRequestSnapshots sends every request of AWS's snapshots, and compares
// what the API says afterwards with what was sent.
func TestRequestSnapshots(t *testing.T) {
	b := newBed(t, nil)
	b.sendSnapshots(t)
	dir := snapshotDir(t, "bedrockagentcorecontrol")
	for _, schema := range refused {
		t.Run(schema.ID().Name, func(t *testing.T) {
			checkNotOffered(t, b.send(t, readSnapshot(t, dir, schema.ID().Name), nil), schema.ID().Name)
		})
	}
	t.Run("DeleteCapacityProviderSession", func(t *testing.T) {
		s := readSnapshot(t, snapshotDir(t, "bedrockagentcore"), "DeleteCapacityProviderSession")
		checkNotOffered(t, b.send(t, s, nil), "DeleteCapacityProviderSession")
	})
	for _, name := range []string{"CreateAgentRuntime", "UpdateAgentRuntime"} {
		t.Run(name+" with a capacity provider", func(t *testing.T) {
			s := readSnapshot(t, dir, name)
			withValid("", 0, s.body)
			s.body["clientToken"] = "another-0123456789-0123456789-0123456789"
			a := b.send(t, s, map[string]string{"AgentRuntimeId": "snapshot-0123456789"})
			checkInvalid(t, a, "capacityProviderConfiguration")
		})
	}
}

// sendSnapshots goes through every operation that is offered.
func (b *bed) sendSnapshots(t *testing.T) {
	t.Helper()
	dir := snapshotDir(t, "bedrockagentcorecontrol")
	sent := make(map[string]bool)
	send := func(name string, path map[string]string) (in, out map[string]any) {
		t.Helper()
		sent[name] = true
		return b.accepted(t, dir, name, path)
	}

	request, out := send("CreateAgentRuntime", nil)
	id := out["agentRuntimeId"].(string)
	path := map[string]string{
		"AgentRuntimeId": id, "AgentRuntimeVersion": "1", "EndpointName": "snapshot", "ClientToken": valid["clientToken"].(string),
	}
	b.await(t, &id)
	b.checkSaid(t, id, request, "agentRuntimeName", "clientToken", "tags")
	if tags := object(t, b.do(t, "GET", "/tags/"+url.PathEscape(b.locality.RuntimeARN("")+id), nil).body)["tags"]; fmt.Sprint(tags) != fmt.Sprint(request["tags"]) {
		t.Errorf("tags = %v, want %v", tags, request["tags"])
	}
	request, _ = send("UpdateAgentRuntime", path)
	b.await(t, &id)
	b.checkSaid(t, id, request, "clientToken")
	if _, out = send("GetAgentRuntime", path); out["agentRuntimeVersion"] != "1" {
		t.Errorf("asked for version 1, got %v", out)
	}
	path["NextToken"] = object(t, b.do(t, "POST", "/runtimes/?maxResults=1", nil).body)["nextToken"].(string)
	send("ListAgentRuntimes", path)
	path["NextToken"] = object(t, b.do(t, "POST", "/runtimes/"+id+"/versions/?maxResults=1", nil).body)["nextToken"].(string)
	send("ListAgentRuntimeVersions", path)
	send("DeleteAgentRuntime", path) // version 1

	// An endpoint needs a version that is READY.
	path["AgentRuntimeId"] = strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))
	path["ResourceArn"] = b.arn + "/runtime-endpoint/snapshot"
	request, _ = send("CreateAgentRuntimeEndpoint", path)
	name := "snapshot"
	runtime := path["AgentRuntimeId"]
	b.awaitEndpoint(t, &runtime, &name)
	if _, out = send("GetAgentRuntimeEndpoint", path); out["description"] != request["description"] || out["liveVersion"] != "1" {
		t.Errorf("endpoint = %v, want %v", out, request)
	}
	path["NextToken"] = object(t, b.do(t, "POST", "/runtimes/"+runtime+"/runtime-endpoints/?maxResults=1", nil).body)["nextToken"].(string)
	if _, out = send("ListAgentRuntimeEndpoints", path); len(out["runtimeEndpoints"].([]any)) != 1 {
		t.Errorf("endpoints = %v", out)
	}
	send("UpdateAgentRuntimeEndpoint", path)
	b.awaitEndpoint(t, &runtime, &name)
	send("TagResource", path)
	if _, out = send("ListTagsForResource", path); fmt.Sprint(out["tags"]) != fmt.Sprint(request["tags"]) {
		t.Errorf("tags = %v, want %v", out["tags"], request["tags"])
	}
	send("UntagResource", path)
	send("PutResourcePolicy", path)
	if _, out = send("GetResourcePolicy", path); out["policy"] != valid["policy"] {
		t.Errorf("policy = %v", out)
	}
	send("DeleteResourcePolicy", path)
	send("DeleteAgentRuntimeEndpoint", path)
	for _, op := range operations {
		if !sent[op.name()] {
			t.Errorf("the snapshot of %s was not sent", op.name())
		}
	}
}

// checkSaid wants GetAgentRuntime, read by the SDK, to give back all that a
// request said, but for some of its members.
func (b *bed) checkSaid(t *testing.T, id string, request map[string]any, but ...string) {
	t.Helper()
	op := operationNamed(t, "GetAgentRuntime")
	got := object(t, encode(t, op, b.await(t, &id)))
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range object(t, text) { // numbers as JSON has them
		if slices.Contains(but, name) {
			continue
		}
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-sent +got):\n%s", name, diff)
		}
	}
}

func checkNotOffered(t *testing.T, a answer, operation string) {
	t.Helper()
	if a.status != 400 || a.header.Get("X-Amzn-ErrorType") != "ValidationException" || !strings.Contains(string(a.body), operation+" is not offered") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

// checkInvalid wants a ValidationException of the fields.
func checkInvalid(t *testing.T, a answer, fields ...string) {
	t.Helper()
	var e struct {
		Message, Reason string
		FieldList       []struct{ Name, Message string }
	}
	if err := json.Unmarshal(a.body, &e); err != nil {
		t.Fatalf("not JSON: %q", a.body)
	}
	var got []string
	for _, f := range e.FieldList {
		got = append(got, f.Name)
	}
	if a.status != 400 || a.header.Get("X-Amzn-ErrorType") != "ValidationException" || e.Reason != "FieldValidationFailed" {
		t.Errorf("%d %s %s", a.status, a.header.Get("X-Amzn-ErrorType"), a.body)
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s%s", diff, a.body)
	}
}
