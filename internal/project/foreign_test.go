package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// toolkitFile is what the starter toolkit 0.3.14 writes, shortened.
const toolkitFile = `
default_agent: weather
agents:
  weather:
    name: weather
    language: python
    entrypoint: src/agent.py
    deployment_type: direct_code_deploy
    runtime_type: PYTHON_3_11
    platform: linux/arm64
    source_path: null
    aws:
      execution_role: arn:aws:iam::123456789012:role/r
      region: us-west-2
      network_configuration: {network_mode: VPC, network_mode_config: {subnets: [subnet-1], security_groups: [sg-1]}}
      protocol_configuration: {server_protocol: MCP}
      observability: {enabled: true}
      lifecycle_configuration: {idle_runtime_session_timeout: 300, max_lifetime: 3600}
      new_in_a_later_version: x
    bedrock_agentcore: {agent_id: weather-1234567890, agent_arn: null, agent_session_id: null}
    codebuild: {project_name: null}
    memory: {mode: STM_ONLY, memory_id: m-1}
    identity: {credential_providers: [], workload: null}
    authorizer_configuration:
      customJWTAuthorizer: {discoveryUrl: https://id.example/.well-known/openid-configuration, allowedClients: [me]}
    request_header_configuration: {requestHeaderAllowlist: [X-Amzn-Bedrock-AgentCore-Runtime-Custom-Team]}
    oauth_configuration: null
  other: {name: other, entrypoint: agent.py}
`

func TestLoadForeignToolkit(t *testing.T) {
	dir := folder(t, "proj", map[string]string{ToolkitFile: toolkitFile, "src/agent.py": "", "agent.py": ""})
	got, err := LoadForeign(dir, "")
	want := &Foreign{
		Deployment: operator.Deployment{Name: "weather", Spec: isolde.VersionSpec{
			Entrypoint: []string{"src/agent.py"}, Protocol: isolde.ProtocolMCP, Lifecycle: isolde.Lifecycle{IdleTimeout: 300, MaxLifetime: 3600},
			Authorizer: &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
				DiscoveryURL: "https://id.example/.well-known/openid-configuration", AllowedClients: []string{"me"},
			}},
			RequestHeaders: []string{"X-Amzn-Bedrock-AgentCore-Runtime-Custom-Team"},
		}},
		File: filepath.Join(dir, ToolkitFile), Folder: dir,
		Warnings: []string{
			"aws.network_configuration: network_mode VPC means nothing here; network.egress in isolde.yaml says what sessions reach",
			"memory: mode STM_ONLY: AgentCore Memory is no part of Isolde; the agent gets no BEDROCK_AGENTCORE_MEMORY_ID",
			"agents.weather.aws: Isolde does not use new_in_a_later_version",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := LoadForeign(dir, "other"); err != nil || got.Name != "other" || len(got.Warnings) > 0 {
		t.Errorf("by name: %+v, %v", got, err)
	}
}

func TestLoadForeignCLI(t *testing.T) {
	dir := folder(t, "proj", map[string]string{
		"app/Chat/main.py": "", CLIFile: `{
  "$schema": "https://schema.agentcore.aws.dev/v1/agentcore.json", "name": "proj", "version": 1,
  "runtimes": [{"name": "Chat", "build": "CodeZip", "entrypoint": "main.py", "codeLocation": "app/Chat/", "runtimeVersion": "PYTHON_3_12",
    "networkMode": "PUBLIC", "protocol": "HTTP", "lifecycleConfiguration": {"idleRuntimeSessionTimeout": 120},
    "envVars": [{"name": "UNITS", "value": "metric"}], "endpoints": {"prod": {"version": 2}}}],
  "memories": [{"name": "m"}], "credentials": []}`,
	})
	got, err := LoadForeign(dir, "")
	want := &Foreign{
		Deployment: operator.Deployment{Name: "Chat", Spec: isolde.VersionSpec{
			Entrypoint: []string{"main.py"}, Lifecycle: isolde.Lifecycle{IdleTimeout: 120}, Environment: map[string]string{"UNITS": "metric"},
		}},
		File: filepath.Join(dir, CLIFile), Folder: filepath.Join(dir, "app/Chat"),
		Warnings: []string{
			filepath.Join(dir, CLIFile) + ": Isolde does not use memories",
			"runtimes.Chat: Isolde does not use endpoints",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	// The file of the tool before it is left over.
	if err := os.WriteFile(filepath.Join(dir, ToolkitFile), []byte(toolkitFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadForeign(dir, ""); err != nil || got.Name != "Chat" {
		t.Errorf("with both files: %+v, %v", got, err)
	}
}

func TestLoadForeignErrors(t *testing.T) {
	if got, err := LoadForeign(folder(t, "none", nil), ""); got != nil || err != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	const agent = "agents:\n  a:\n    name: a\n    entrypoint: agent.py\n"
	for text, want := range map[string]string{
		"agents: {}":                                     "names no agents",
		"agents: [":                                      ToolkitFile,
		agent + "  b: {entrypoint: b.py}":                "several agents",
		"default_agent: c\n" + agent:                     `no agent "c"`,
		"agents: {a: {name: a}}":                         "no entrypoint",
		strings.Replace(agent, "agent.py", "gone.py", 1): `"gone.py" is not in`,
		agent + "    aws: {protocol_configuration: {server_protocol: SOAP}}":       "SOAP",
		agent + "    authorizer_configuration: {customJWTAuthorizer: {issuer: x}}": "unknown field",
		agent + "    aws: {lifecycle_configuration: {max_lifetime: 5}}":            "maxLifetime",
	} {
		_, err := LoadForeign(folder(t, "bad", map[string]string{ToolkitFile: text, "agent.py": ""}), "")
		if isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n→ %v, want %q", text, err, want)
		}
	}
}
