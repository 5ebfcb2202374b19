package project

import (
	"path/filepath"

	"github.com/isolde-run/isolde"
)

// cli reads agentcore/agentcore.json of @aws/agentcore, whose paths are
// relative to the folder that has agentcore/ in it.
func (r *foreignReader) cli(doc map[string]any, name string) (*Foreign, error) {
	runtimes := make(map[string]any)
	list, _ := doc["runtimes"].([]any)
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			runtimes[text(m, "name")] = m
		}
	}
	a, err := pick(r, runtimes, name)
	if err != nil {
		return nil, err
	}
	// memories, credentials, gateways, evaluators and their kind are other services of AgentCore.
	r.leftOver(doc, r.path, "$schema", "name", "version", "description", "managedBy", "tags", "runtimes")
	f := &Foreign{Folder: filepath.Join(r.folder, filepath.FromSlash(text(a, "codeLocation")))}
	if !isFolder(f.Folder) {
		return nil, r.errorf("codeLocation %q is not a folder", text(a, "codeLocation"))
	}
	f.Name, f.Spec.Description = text(a, "name"), text(a, "description")
	f.Spec.Entrypoint = []string{r.entry(f.Folder, text(a, "entrypoint"))}
	life := section(a, "lifecycleConfiguration")
	f.Spec.Lifecycle = isolde.Lifecycle{IdleTimeout: seconds(life, "idleRuntimeSessionTimeout"), MaxLifetime: seconds(life, "maxLifetime")}
	if err := r.protocol(text(a, "protocol"), &f.Spec.Protocol); err != nil {
		return nil, err
	}
	switch kind := text(a, "authorizerType"); kind {
	case "", "AWS_IAM", "NONE":
	case "CUSTOM_JWT":
		m := section(a, "authorizerConfiguration")
		if jwt, ok := m["customJwtAuthorizer"]; ok {
			m = map[string]any{"customJWTAuthorizer": jwt}
		}
		if f.Spec.Authorizer, err = r.authorizer(m); err == nil && f.Spec.Authorizer == nil {
			err = r.errorf("authorizerType is CUSTOM_JWT, and there is no authorizerConfiguration")
		}
		if err != nil {
			return nil, err
		}
	default:
		return nil, r.errorf("authorizerType %q is none of AWS_IAM, CUSTOM_JWT", kind)
	}
	f.Spec.RequestHeaders = texts(a["requestHeaderAllowlist"])
	variables, _ := a["envVars"].([]any)
	for _, item := range variables {
		if m, ok := item.(map[string]any); ok {
			if f.Spec.Environment == nil {
				f.Spec.Environment = make(map[string]string)
			}
			f.Spec.Environment[text(m, "name")] = text(m, "value")
		}
	}
	if mode := text(a, "networkMode"); mode != "" && mode != "PUBLIC" {
		r.warn("networkMode %s means nothing here; network.egress in isolde.yaml says what sessions reach", mode)
	}
	r.leftOver(a, "runtimes."+f.Name, "name", "description", "build", "entrypoint", "codeLocation", "runtimeVersion", "networkMode", "protocol",
		"requestHeaderAllowlist", "authorizerType", "authorizerConfiguration", "lifecycleConfiguration", "envVars", "tags")
	return f, nil
}
