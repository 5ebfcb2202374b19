package project

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// toolkit reads .bedrock_agentcore.yaml: agents by name, or one at the top as
// the first versions of the toolkit wrote it.
func (r *foreignReader) toolkit(doc map[string]any, name string) (*Foreign, error) {
	agents := section(doc, "agents")
	if agents == nil && text(doc, "entrypoint") != "" {
		agents = map[string]any{text(doc, "name"): doc}
		doc = nil
	}
	if name == "" {
		name = text(doc, "default_agent")
	}
	a, err := pick(r, agents, name)
	if err != nil {
		return nil, err
	}
	r.leftOver(doc, r.path, "agents", "default_agent", "is_agentcore_create_with_iac")
	f := &Foreign{Folder: r.folder}
	f.Name = text(a, "name")
	if source := text(a, "source_path"); source != "" {
		if f.Folder = source; !filepath.IsAbs(source) {
			f.Folder = filepath.Join(r.folder, source)
		}
		if !isFolder(f.Folder) {
			r.warn("agents.%s: source_path %s is not here; the files are taken from %s", f.Name, source, r.folder)
			f.Folder = r.folder
		}
	}
	f.Spec.Entrypoint = []string{r.entry(f.Folder, text(a, "entrypoint"))}
	aws := section(a, "aws")
	life := section(aws, "lifecycle_configuration")
	f.Spec.Lifecycle = isolde.Lifecycle{IdleTimeout: seconds(life, "idle_runtime_session_timeout"), MaxLifetime: seconds(life, "max_lifetime")}
	if err := r.protocol(text(section(aws, "protocol_configuration"), "server_protocol"), &f.Spec.Protocol); err != nil {
		return nil, err
	}
	if f.Spec.Authorizer, err = r.authorizer(section(a, "authorizer_configuration")); err != nil {
		return nil, err
	}
	f.Spec.RequestHeaders = texts(section(a, "request_header_configuration")["requestHeaderAllowlist"])
	if mode := text(section(aws, "network_configuration"), "network_mode"); mode != "" && mode != "PUBLIC" {
		r.warn("aws.network_configuration: network_mode %s means nothing here; network.egress in isolde.yaml says what sessions reach", mode)
	}
	if mode := text(section(a, "memory"), "mode"); mode != "" && mode != "NO_MEMORY" {
		r.warn("memory: mode %s: AgentCore Memory is no part of Isolde; the agent gets no BEDROCK_AGENTCORE_MEMORY_ID", mode)
	}
	if key := text(a, "api_key_env_var_name"); key != "" {
		r.warn("api_key_env_var_name: pass the key with: isolde deploy --env %s", key)
	}
	const where = "agents"
	// What is known, or is about the building and billing of AWS.
	r.leftOver(a, where+"."+f.Name, "name", "language", "node_version", "entrypoint", "source_path", "aws", "authorizer_configuration",
		"request_header_configuration", "memory", "api_key_env_var_name", "deployment_type", "runtime_type", "platform", "container_runtime",
		"bedrock_agentcore", "codebuild", "is_generated_by_agentcore_create", "aws_jwt")
	if section(a, "aws_jwt")["enabled"] == true {
		r.warn("%s.%s: Isolde does not use aws_jwt", where, f.Name)
	}
	r.leftOver(aws, where+"."+f.Name+".aws", "lifecycle_configuration", "protocol_configuration", "network_configuration", "observability",
		"execution_role", "execution_role_auto_create", "account", "region", "ecr_repository", "ecr_auto_create", "s3_path", "s3_auto_create")
	return f, nil
}

// pick is the agent of a name, or the only one there is.
func pick(r *foreignReader, agents map[string]any, name string) (map[string]any, error) {
	names := slices.Sorted(maps.Keys(agents))
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	switch a := section(agents, name); {
	case len(names) == 0:
		return nil, r.errorf("the file names no agents")
	case name == "":
		return nil, r.errorf("the file has several agents").WithHint("name one with --name: %s", strings.Join(names, ", "))
	case a == nil:
		return nil, r.errorf("there is no agent %q", name).WithHint("the file has: %s", strings.Join(names, ", "))
	case text(a, "entrypoint") == "":
		return nil, r.errorf("agent %q has no entrypoint", name)
	default:
		return a, nil
	}
}

// authorizer reads an authorizer as the API writes it. One that is not
// understood in full is an error: dropped, it would leave a door open.
func (r *foreignReader) authorizer(m map[string]any) (*isolde.Authorizer, error) {
	if !says(m) {
		return nil, nil
	}
	encoded, err := json.Marshal(m)
	if err != nil {
		return nil, r.errorf("authorizer: %v", err)
	}
	var a isolde.Authorizer
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, r.errorf("authorizer: %v", err).WithHint("it must be as CreateAgentRuntime takes it: customJWTAuthorizer with discoveryUrl and so on")
	}
	return &a, nil
}

// texts is a list of texts.
func texts(v any) []string {
	list, _ := v.([]any)
	var all []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			all = append(all, s)
		}
	}
	return all
}
