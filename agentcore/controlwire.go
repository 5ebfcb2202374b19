package agentcore

import (
	"reflect"
	"time"

	"github.com/isolde-run/isolde"
)

// settings are what a caller says of an agent runtime's version, in the shape
// that CreateAgentRuntime and UpdateAgentRuntime take and GetAgentRuntime
// gives back.
type settings struct {
	Artifact         *isolde.Artifact             `json:"agentRuntimeArtifact"`
	Role             string                       `json:"roleArn"`
	Network          *isolde.NetworkConfiguration `json:"networkConfiguration,omitempty"`
	Description      string                       `json:"description,omitempty"`
	Authorizer       *isolde.Authorizer           `json:"authorizerConfiguration,omitempty"`
	RequestHeaders   *requestHeaders              `json:"requestHeaderConfiguration,omitempty"`
	Protocol         *protocol                    `json:"protocolConfiguration,omitempty"`
	AllowedPorts     []isolde.AllowedPort         `json:"allowedPorts,omitempty"`
	Lifecycle        *lifecycle                   `json:"lifecycleConfiguration,omitempty"`
	Environment      map[string]string            `json:"environmentVariables,omitempty"`
	Filesystems      []isolde.Filesystem          `json:"filesystemConfigurations,omitempty"`
	CapacityProvider *capacityProvider            `json:"capacityProviderConfiguration,omitempty"`
	PlatformVersion  string                       `json:"platformVersion,omitempty"`
}

type requestHeaders struct {
	Allowlist []string `json:"requestHeaderAllowlist,omitempty"`
}

type protocol struct {
	Server isolde.Protocol `json:"serverProtocol"`
	Port   *int            `json:"port,omitempty"`
	Path   string          `json:"path,omitempty"`
}

type lifecycle struct {
	Idle *isolde.Seconds `json:"idleRuntimeSessionTimeout,omitempty"`
	Max  *isolde.Seconds `json:"maxLifetime,omitempty"`
}

type capacityProvider struct {
	ARN string `json:"capacityProviderArn"`
}

type metadata struct {
	RequireMMDSV2 *bool `json:"requireMMDSV2"`
}

// unions are the shapes of which exactly one member is given.
var unions = map[reflect.Type]bool{
	reflect.TypeFor[isolde.Artifact]():        true,
	reflect.TypeFor[isolde.CodeLocation]():    true,
	reflect.TypeFor[isolde.Authorizer]():      true,
	reflect.TypeFor[isolde.ClaimValue]():      true,
	reflect.TypeFor[isolde.PrivateEndpoint](): true,
	reflect.TypeFor[isolde.LatticeResource](): true,
	reflect.TypeFor[isolde.AllowedPort]():     true,
	reflect.TypeFor[isolde.Filesystem]():      true,
	reflect.TypeFor[requestHeaders]():         true,
}

// spec is what s says, as the catalog takes it.
func (s *settings) spec() isolde.VersionSpec {
	v := isolde.VersionSpec{
		Artifact: s.Artifact, Role: s.Role, NetworkSettings: s.Network, Description: s.Description, Authorizer: s.Authorizer,
		AllowedPorts: s.AllowedPorts, Environment: s.Environment, Filesystems: s.Filesystems, PlatformVersion: s.PlatformVersion,
	}
	if s.RequestHeaders != nil {
		v.RequestHeaders = s.RequestHeaders.Allowlist
	}
	if s.Protocol != nil {
		v.Protocol, v.Port, v.Path = s.Protocol.Server, deref(s.Protocol.Port), s.Protocol.Path
	}
	if s.Lifecycle != nil {
		v.Lifecycle = isolde.Lifecycle{IdleTimeout: deref(s.Lifecycle.Idle), MaxLifetime: deref(s.Lifecycle.Max)}
	}
	if s.CapacityProvider != nil {
		v.CapacityProvider = s.CapacityProvider.ARN
	}
	return v
}

// settings is the inverse of spec; what was not said is its default. A folder
// that was deployed is shown as an image with a role of this server's.
func (h *Handler) settings(name string, v isolde.Version) settings {
	spec := v.Spec
	s := settings{
		Artifact: spec.Artifact, Role: spec.Role, Network: spec.NetworkSettings, Description: spec.Description, Authorizer: spec.Authorizer,
		AllowedPorts: spec.AllowedPorts, Environment: spec.Environment, Filesystems: spec.Filesystems, PlatformVersion: spec.PlatformVersion,
		Protocol: &protocol{Server: spec.Protocol, Path: spec.Path},
	}
	if s.Artifact == nil {
		s.Artifact = &isolde.Artifact{Container: &isolde.ContainerArtifact{URI: isolde.FolderImageURI(name, v.Image)}}
	}
	if s.Role == "" {
		s.Role = "arn:aws:iam::" + h.Locality.Account + ":role/isolde"
	}
	if s.Network == nil {
		s.Network = &isolde.NetworkConfiguration{Mode: isolde.NetworkPublic}
	}
	if s.Protocol.Server == "" {
		s.Protocol.Server = isolde.ProtocolHTTP
	}
	if spec.Port != 0 {
		s.Protocol.Port = &spec.Port
	}
	if spec.RequestHeaders != nil {
		s.RequestHeaders = &requestHeaders{spec.RequestHeaders}
	}
	if spec.CapacityProvider != "" {
		s.CapacityProvider = &capacityProvider{spec.CapacityProvider}
	}
	life := spec.Lifecycle.WithDefaults()
	s.Lifecycle = &lifecycle{&life.IdleTimeout, &life.MaxLifetime}
	return s
}

// check adds what the spec cannot tell: it takes a zero, and an empty list,
// for what was not said.
func (s *settings) check(p *isolde.Problems) {
	if l := s.Lifecycle; l != nil {
		zero := func(name string, v *isolde.Seconds) {
			if v != nil && *v == 0 {
				p.Add("lifecycleConfiguration."+name, "is 0 s; it must be %d to %d", isolde.MinLifecycle, isolde.MaxLifecycle)
			}
		}
		zero("idleRuntimeSessionTimeout", l.Idle)
		zero("maxLifetime", l.Max)
	}
	if s.Protocol != nil && s.Protocol.Port != nil && *s.Protocol.Port == 0 {
		p.Add("protocolConfiguration.port", "must not be 0; without it, the agent's port is the protocol's")
	}
	if s.RequestHeaders != nil {
		notEmpty(p, "requestHeaderConfiguration.requestHeaderAllowlist", s.RequestHeaders.Allowlist)
	}
	notEmpty(p, "allowedPorts", s.AllowedPorts)
	if s.Authorizer != nil && s.Authorizer.JWT != nil {
		const field = "authorizerConfiguration.customJWTAuthorizer."
		j := s.Authorizer.JWT
		notEmpty(p, field+"allowedAudience", j.AllowedAudience)
		notEmpty(p, field+"allowedClients", j.AllowedClients)
		notEmpty(p, field+"allowedScopes", j.AllowedScopes)
		notEmpty(p, field+"customClaims", j.CustomClaims)
	}
	p.Join(s.spec().Validate())
}

func notEmpty[T any](p *isolde.Problems, name string, list []T) {
	if list != nil && len(list) == 0 {
		p.Add(name, "has no items; leave it out instead")
	}
}

// deref is what p points at, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// timestamp is a time as the control plane writes it: ISO 8601 in UTC.
type timestamp time.Time

// MarshalText implements encoding.TextMarshaler.
func (t timestamp) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05.000000Z")), nil
}

// version is a version's number as the API writes it, a string; empty for none.
func version(n isolde.VersionNumber) string {
	if n == 0 {
		return ""
	}
	return n.String()
}
