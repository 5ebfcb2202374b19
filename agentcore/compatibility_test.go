package agentcore_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/schemas"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"

	"github.com/isolde-run/isolde"
)

var update = flag.Bool("update", false, "write docs/COMPATIBILITY.md's tables of the control plane")

// alternatives is what the snapshots leave out: they hold the first member of
// each union. It is sent as version 2, since only updates take all.
const alternatives = `{
	"agentRuntimeArtifact": {"codeConfiguration": {
		"code": {"s3": {"bucket": "agents", "prefix": "agent/code.zip", "versionId": "3sL4kqtJlcpXroDTDmJ"}},
		"runtime": "PYTHON_3_13", "entryPoint": ["opentelemetry-instrument", "agent.py"]}},
	"roleArn": "arn:aws:iam::123456789012:role/agent",
	"networkConfiguration": {"networkMode": "VPC", "networkModeConfig": {
		"securityGroups": ["sg-01234567"], "subnets": ["subnet-01234567"], "requireServiceS3Endpoint": false}},
	"authorizerConfiguration": {"customJWTAuthorizer": {
		"discoveryUrl": "https://idp.example.com/.well-known/openid-configuration",
		"customClaims": [{"inboundTokenClaimName": "groups", "inboundTokenClaimValueType": "STRING_ARRAY",
			"authorizingClaimMatchValue": {"claimMatchOperator": "CONTAINS_ANY", "claimMatchValue": {"matchValueStringList": ["a", "b"]}}}],
		"privateEndpoint": {"managedVpcResource": {"vpcIdentifier": "vpc-01234567", "subnetIds": ["subnet-01234567"],
			"endpointIpAddressType": "IPV4", "securityGroupIds": ["sg-01234567"], "tags": {"a": "b"}, "routingDomain": "idp.example.com"}},
		"privateEndpointOverrides": [{"domain": "example.com", "privateEndpoint": {"managedVpcResource": {"vpcIdentifier": "vpc-01234567",
			"subnetIds": ["subnet-01234567"], "endpointIpAddressType": "IPV6", "securityGroupIds": ["sg-01234567"], "tags": {"a": ""}, "routingDomain": "example.com"}}}]}},
	"allowedPorts": [{"portRange": {"from": 9000, "to": 9100}}, {"port": 8081}],
	"filesystemConfigurations": [
		{"s3FilesAccessPoint": {"accessPointArn": "arn:aws:s3files:us-west-2:123456789012:file-system/fs-00000000000000000/access-point/fsap-00000000000000000", "mountPath": "/mnt/s3"}},
		{"efsAccessPoint": {"accessPointArn": "arn:aws:elasticfilesystem:us-west-2:123456789012:access-point/fsap-00000000", "mountPath": "/mnt/efs"}},
		{"capacityProviderVolume": {"volumeName": "data", "mountPath": "/mnt/volume"}}],
	"protocolConfiguration": {"serverProtocol": "A2A"},
	"lifecycleConfiguration": {"idleRuntimeSessionTimeout": 60, "maxLifetime": 28800},
	"metadataConfiguration": {"requireMMDSV2": false}
}`

// neverAnswered are the members of AWS's answers that Isolde's never have.
var neverAnswered = map[string]string{
	"GetAgentRuntime.capacityProviderConfiguration":                     "none can be set",
	"GetAgentRuntime.capacityProviderConfiguration.capacityProviderArn": "none can be set",
}

// TestAnswersAreComplete brings about every state that an answer tells of, and
// wants each member of each answer's shape filled in at least once, and
// nothing that the SDK would not read.
func TestAnswersAreComplete(t *testing.T) {
	b := newBed(t, nil)
	b.sendSnapshots(t)
	id := *b.create(t, "alternatives").AgentRuntimeId
	b.await(t, &id)
	if a := b.do(t, http.MethodPut, "/runtimes/"+id+"/", strings.NewReader(alternatives)); a.status != 202 {
		t.Fatalf("update: %d %s", a.status, a.body)
	}
	b.await(t, &id)
	b.checkSaid(t, id, object(t, []byte(alternatives)))
	if e := b.awaitEndpoint(t, &id, aws.String("DEFAULT")); e.Status != types.AgentRuntimeEndpointStatusUpdateFailed || e.FailureReason == nil || aws.ToString(e.LiveVersion) != "1" || aws.ToString(e.TargetVersion) != "2" {
		t.Errorf("DEFAULT after an update that failed = %+v", e)
	}

	b.answers.mu.Lock()
	defer b.answers.mu.Unlock()
	for _, op := range operations {
		filled := make(map[string]bool)
		for _, a := range b.answers.all[op.name()] {
			checkLossless(t, op, a)
			if len(a.body) > 0 {
				fill(filled, op.response, "", object(t, a.body))
			}
		}
		for _, path := range members(op.response, "") {
			_, never := neverAnswered[op.name()+"."+path]
			if never == filled[path] {
				t.Errorf("%s: %s filled: %v, listed as never: %v", op.name(), path, filled[path], never)
			}
		}
	}
}

// members lists the paths of all members of a shape, in order.
func members(s *smithy.Schema, path string) []string {
	var all []string
	switch s.Type() {
	case smithy.ShapeTypeList:
		return members(s.ListMember(), path+"[]")
	case smithy.ShapeTypeStructure, smithy.ShapeTypeUnion:
		for _, name := range slices.Sorted(maps.Keys(s.Members())) {
			p := strings.TrimPrefix(path+"."+name, ".")
			all = append(append(all, p), members(s.Member(name), p)...)
		}
	}
	return all
}

// fill notes which members of a shape a value has.
func fill(filled map[string]bool, s *smithy.Schema, path string, v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			fill(filled, s.ListMember(), path+"[]", item)
		}
	case map[string]any:
		if s.Type() == smithy.ShapeTypeMap {
			return
		}
		for name, value := range v {
			p := strings.TrimPrefix(path+"."+name, ".")
			filled[p] = true
			fill(filled, s.Member(name), p, value)
		}
	}
}

// effects is what Isolde does with what a caller says of an agent runtime.
// A version with a field that begins with "not yet" fails, and says so.
var effects = map[string]string{
	"agentRuntimeName":              "unique on a server",
	"agentRuntimeArtifact":          "built: any registry's image, `oci:PATH`, `docker-archive:PATH`; code from S3, with its packages in the archive",
	"roleArn":                       "kept, nobody assumes it",
	"networkConfiguration":          "kept; PUBLIC unless said. What a session reaches is Isolde's own setting, see SECURITY.md",
	"clientToken":                   "makes the request idempotent for a day",
	"description":                   "kept",
	"authorizerConfiguration":       "enforced: audience, clients, scopes and claims. Without any of these, or with what is of AWS's network (private endpoints, workloads), a version fails",
	"requestHeaderConfiguration":    "done; AWS's table of restricted names, 20 names, 4 KiB per value. Authorization reaches an agent with a customJWTAuthorizer only",
	"protocolConfiguration":         "HTTP, MCP, A2A and AGUI, with port and path",
	"allowedPorts":                  "kept; there are no session endpoints yet",
	"lifecycleConfiguration":        "done; 60 to 28,800 s",
	"environmentVariables":          "done",
	"filesystemConfigurations":      "sessionStorage is done: 1 GB each unless `isolde.yaml` says otherwise, kept over stops, for 14 days after the last use, until no endpoint leads to the version, until the runtime is deleted. With access points and volumes, which are in AWS, a version fails; folders of the server's machine can be mounted instead",
	"capacityProviderConfiguration": "refused: sessions run on the server's machine",
	"platformVersion":               "kept, without effect",
	"metadataConfiguration":         "of updates only; kept, there is no metadata service yet",
	"tags":                          "kept",
}

// notes are what the tables say of an operation beside its shapes.
var notes = map[string]string{
	"CreateAgentRuntime":         "builds in the background: CREATING, then READY or CREATE_FAILED with `failureReason`",
	"UpdateAgentRuntime":         "the next version; DEFAULT follows once it is READY, sessions keep theirs. What is left out is reset",
	"GetAgentRuntime":            "the newest version unless one is named",
	"ListAgentRuntimes":          "by name",
	"ListAgentRuntimeVersions":   "newest first",
	"DeleteAgentRuntime":         "ends its sessions; with `version` that version alone, unless an endpoint names it (ConflictException)",
	"ListAgentRuntimeEndpoints":  "by name",
	"CreateAgentRuntimeEndpoint": "at a version that is READY, the newest unless one is named; up to 100",
	"UpdateAgentRuntimeEndpoint": "what is left out stays; DEFAULT cannot be pointed",
	"DeleteAgentRuntimeEndpoint": "DEFAULT goes with its agent runtime only",
	"TagResource":                "agent runtimes and endpoints",
	"UntagResource":              "agent runtimes and endpoints",
	"ListTagsForResource":        "agent runtimes and endpoints",
	"PutResourcePolicy":          "agent runtimes and endpoints; any JSON object, kept and not enforced",
	"DeleteResourcePolicy":       "succeeds if there is none",
}

// TestCompatibilityTables keeps docs/COMPATIBILITY.md as this package is.
func TestCompatibilityTables(t *testing.T) {
	const file, begin, end = "../docs/COMPATIBILITY.md", "<!-- generated: go test ./agentcore -run TestCompatibilityTables -update -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks %q or %q", file, begin, end)
	}
	want := slices.Concat(before, []byte(begin+tables(t)+end), after)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, want) {
		t.Errorf("%s is stale: go test ./agentcore -run TestCompatibilityTables -update", file)
	}
}

func tables(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n| operation | request | fields | answer | fields | |\n|---|---|---|---|---|---|\n")
	for _, op := range operations {
		fmt.Fprintf(&b, "| %s | `%s %s` | %s | %d | %s | %s |\n", op.name(), op.http().Method, op.http().URI,
			fields(op, op.request, false), op.http().Code, fields(op, op.response, true), notes[op.name()])
	}
	var names []string
	for _, s := range refused {
		names = append(names, s.ID().Name)
	}
	fmt.Fprintf(&b, "\nAnswered with `ValidationException`, since Isolde has no capacity providers: %s, DeleteCapacityProviderSession.\n", strings.Join(names, ", "))
	b.WriteString("\nWhat is said of an agent runtime is given back as it was said. What Isolde does with it:\n\n| field | |\n|---|---|\n")
	for _, name := range settingNames() {
		if effects[name] == "" {
			t.Errorf("effects lacks %s", name)
		}
		fmt.Fprintf(&b, "| %s | %s |\n", name, effects[name])
	}
	if len(effects) != len(settingNames()) {
		t.Errorf("effects has %d entries, the requests %d fields", len(effects), len(settingNames()))
	}
	return b.String() + "\n"
}

// fields lists the members of a shape; those of the query with a question
// mark, those of the path not at all.
func fields(op operation, s *smithy.Schema, answer bool) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Members())) {
		m := s.Member(name)
		if _, ok := smithy.SchemaTrait[*traits.HTTPLabel](m); ok {
			continue
		}
		if q, ok := smithy.SchemaTrait[*traits.HTTPQuery](m); ok {
			name = "?" + q.Name
		}
		if _, never := neverAnswered[op.name()+"."+name]; answer && never || strings.HasPrefix(effects[name], "refused") {
			name = "~~" + name + "~~"
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

// settingNames are the fields of the requests that make a version.
func settingNames() []string {
	all := make(map[string]bool)
	for _, s := range []*smithy.Schema{schemas.CreateAgentRuntimeRequest, schemas.UpdateAgentRuntimeRequest} {
		for name, m := range s.Members() {
			if _, inPath := smithy.SchemaTrait[*traits.HTTPLabel](m); !inPath {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// TestEffectsAreTrue creates an agent runtime with each field alone, from the
// snapshot of the request, and wants it to be READY unless the tables say
// otherwise.
// enforceable leaves out of an authorizer what is of AWS's own network.
func enforceable(value any) any {
	if a, ok := value.(map[string]any); ok {
		if jwt, ok := a["customJWTAuthorizer"].(map[string]any); ok {
			for _, name := range []string{"allowedWorkloadConfiguration", "privateEndpoint", "privateEndpointOverrides"} {
				delete(jwt, name)
			}
		}
	}
	return value
}

func TestEffectsAreTrue(t *testing.T) {
	b := newBed(t, nil)
	dir := snapshotDir(t, "bedrockagentcorecontrol")
	for name, effect := range effects {
		t.Run(name, func(t *testing.T) {
			s := readSnapshot(t, dir, "CreateAgentRuntime")
			withValid("", 0, s.body)
			value := enforceable(s.body[name])
			s.body = map[string]any{
				"agentRuntimeName": "with_" + name, "agentRuntimeArtifact": s.body["agentRuntimeArtifact"], "roleArn": role, name: value,
			}
			a := b.send(t, s, nil)
			if strings.HasPrefix(effect, "refused") {
				checkInvalid(t, a, name)
				return
			}
			if a.status != 202 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			id := object(t, a.body)["agentRuntimeId"].(string)
			got := b.await(t, &id)
			want := isolde.StatusReady
			if strings.HasPrefix(effect, "not yet") {
				want = isolde.StatusCreateFailed
			}
			if string(got.Status) != string(want) || want != isolde.StatusReady && !strings.Contains(aws.ToString(got.FailureReason), "yet") {
				t.Errorf("%s is %s (%s), want %s", id, got.Status, aws.ToString(got.FailureReason), want)
			}
		})
	}
}
