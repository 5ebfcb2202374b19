package isolde

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AgentRuntime is a hosted agent: a name with immutable versions.
type AgentRuntime struct {
	ID            RuntimeID     `json:"agentRuntimeId"`
	Name          string        `json:"agentRuntimeName"` // unique on a server; see ValidateName
	Status        Status        `json:"status"`
	FailureReason string        `json:"failureReason,omitempty"` // why Status is a failure
	Latest        VersionNumber `json:"agentRuntimeVersion"`     // the newest version, whatever its status
	Description   string        `json:"description,omitempty"`   // of the newest version; read only
	CreatedAt     time.Time     `json:"createdAt"`
	UpdatedAt     time.Time     `json:"lastUpdatedAt"`
}

// VersionNumber counts the versions of an agent runtime from 1.
type VersionNumber int

// String is the decimal form the API uses.
func (n VersionNumber) String() string { return strconv.Itoa(int(n)) }

// Status is the state of an agent runtime, a version or an endpoint, in the
// API's own words.
type Status string

// The statuses of the AgentCore control plane.
const (
	StatusCreating     Status = "CREATING"
	StatusCreateFailed Status = "CREATE_FAILED"
	StatusUpdating     Status = "UPDATING"
	StatusUpdateFailed Status = "UPDATE_FAILED"
	StatusReady        Status = "READY"
	StatusDeleting     Status = "DELETING"
	StatusDeleteFailed Status = "DELETE_FAILED"
)

// Final reports whether nothing is under way.
func (s Status) Final() bool {
	return s != StatusCreating && s != StatusUpdating && s != StatusDeleting
}

// Version is an immutable state of an agent runtime: what runs, and how.
type Version struct {
	Runtime       RuntimeID     `json:"agentRuntimeId"`
	Number        VersionNumber `json:"agentRuntimeVersion"`
	Spec          VersionSpec   `json:"spec"`
	Image         string        `json:"image,omitempty"` // digest of the built image, "sha256:…"; empty until READY
	Status        Status        `json:"status"`
	FailureReason string        `json:"failureReason,omitempty"`
	CreatedAt     time.Time     `json:"createdAt"`
	UpdatedAt     time.Time     `json:"lastUpdatedAt,omitzero"` // when Status last changed
}

// VersionSpec is what a caller says of a version. The fields from Role on are
// the AgentCore API's own, kept to be given back; what Isolde does with them
// docs/COMPATIBILITY.md tells.
type VersionSpec struct {
	Artifact    *Artifact         `json:"agentRuntimeArtifact,omitempty"` // nil: a folder that was deployed
	Description string            `json:"description,omitempty"`
	Language    Language          `json:"language,omitempty"`   // of a folder; empty: found from the entry point
	Entrypoint  []string          `json:"entrypoint,omitempty"` // of a folder, e.g. ["agent.py"], ["opentelemetry-instrument","agent.py"], ["./server","-v"]
	Environment map[string]string `json:"environment,omitempty"`
	Protocol    Protocol          `json:"protocol,omitempty"` // empty: HTTP
	Port        int               `json:"port,omitempty"`     // where the agent listens; 0: the protocol's
	Path        string            `json:"path,omitempty"`     // where it takes invocations; empty: the protocol's
	Lifecycle   Lifecycle         `json:"lifecycle,omitzero"`
	Resources   Resources         `json:"resources,omitzero"`
	Network     Network           `json:"network,omitzero"`
	Limits      Limits            `json:"limits,omitzero"`
	Mounts      []Mount           `json:"mounts,omitempty"` // folders of the server's machine
	// BindSessions says whether a session is its first caller's alone; nil: the
	// server decides.
	BindSessions *bool `json:"bindSessions,omitempty"`

	Role             string                 `json:"roleArn,omitempty"`
	NetworkSettings  *NetworkConfiguration  `json:"networkConfiguration,omitempty"`
	Authorizer       *Authorizer            `json:"authorizerConfiguration,omitempty"`
	RequestHeaders   []string               `json:"requestHeaderAllowlist,omitempty"`
	AllowedPorts     []AllowedPort          `json:"allowedPorts,omitempty"`
	Filesystems      []Filesystem           `json:"filesystemConfigurations,omitempty"`
	CapacityProvider string                 `json:"capacityProviderArn,omitempty"`
	PlatformVersion  string                 `json:"platformVersion,omitempty"`
	Metadata         *MetadataConfiguration `json:"metadataConfiguration,omitempty"`
}

// Equal reports whether two specs say the same.
func (s VersionSpec) Equal(o VersionSpec) bool {
	a, err1 := json.Marshal(s)
	b, err2 := json.Marshal(o)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

// Language says how a folder with an entry point becomes an image.
type Language string

// The languages that image/ builds. Command takes the folder as it is and
// runs the entry point, which must be an executable in it.
const (
	LanguagePython  Language = "python"
	LanguageNode    Language = "node"
	LanguageGo      Language = "go"
	LanguageCommand Language = "command"
)

// Protocol is what the agent speaks on its port.
type Protocol string

// The protocols of the AgentCore API.
const (
	ProtocolHTTP Protocol = "HTTP"
	ProtocolMCP  Protocol = "MCP"
	ProtocolA2A  Protocol = "A2A"
	ProtocolAGUI Protocol = "AGUI"
)

// AgentPort is where the version's agent listens.
func (s VersionSpec) AgentPort() int { return cmp.Or(s.Port, s.Protocol.Port()) }

// AgentPath is where the version's agent takes invocations.
func (s VersionSpec) AgentPath() string { return cmp.Or(s.Path, s.Protocol.Path()) }

// Path is where an agent of the protocol takes invocations, from the
// AgentCore service contract.
func (p Protocol) Path() string {
	switch p {
	case ProtocolMCP:
		return "/mcp"
	case ProtocolA2A:
		return "/"
	default:
		return "/invocations"
	}
}

// Port is where an agent of the protocol listens, from the AgentCore
// service contract.
func (p Protocol) Port() int {
	switch p {
	case ProtocolMCP:
		return 8000
	case ProtocolA2A:
		return 9000
	default:
		return 8080
	}
}

// Lifecycle bounds a session's life. The zero value of a field means its
// default.
type Lifecycle struct {
	IdleTimeout Seconds `json:"idleRuntimeSessionTimeout,omitempty"` // 60 to 28800; default min(900, MaxLifetime)
	MaxLifetime Seconds `json:"maxLifetime,omitempty"`               // 60 to 28800; default 28800
}

// Seconds is a duration as the API writes it.
type Seconds int

// Duration converts to the standard type.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// The bounds of the AgentCore limits page.
const (
	MinLifecycle       Seconds = 60
	MaxLifecycle       Seconds = 28800
	DefaultIdleTimeout Seconds = 900
	DefaultMaxLifetime Seconds = 28800
)

// WithDefaults fills what is unset, by the API's rules: only the maximum
// given → idle = min(900, maximum); only idle given → maximum = 28800.
func (l Lifecycle) WithDefaults() Lifecycle {
	if l.MaxLifetime == 0 {
		l.MaxLifetime = DefaultMaxLifetime
	}
	if l.IdleTimeout == 0 {
		l.IdleTimeout = min(DefaultIdleTimeout, l.MaxLifetime)
	}
	return l
}

// check adds the bounds that l, with defaults filled, breaks.
func (l Lifecycle) check(p *Problems) {
	l = l.WithDefaults()
	for _, f := range []struct {
		name  string
		value Seconds
	}{{"idleRuntimeSessionTimeout", l.IdleTimeout}, {"maxLifetime", l.MaxLifetime}} {
		if f.value < MinLifecycle || f.value > MaxLifecycle {
			p.Add("lifecycleConfiguration."+f.name, "is %d s; it must be %d to %d", f.value, MinLifecycle, MaxLifecycle)
		}
	}
	if l.IdleTimeout > l.MaxLifetime {
		p.Add("lifecycleConfiguration", "idleRuntimeSessionTimeout must be less than or equal to maxLifetime (%d > %d)", l.IdleTimeout, l.MaxLifetime)
	}
}

// Resources bound one sandbox. The zero value of a field means its default.
type Resources struct {
	CPUs        float64 `json:"cpus,omitempty"`        // cores; default 2, never more than the machine has
	MemoryBytes int64   `json:"memoryBytes,omitempty"` // default 8 GiB, never more than the machine has
	Processes   int     `json:"processes,omitempty"`   // host tasks; default 4096
	DiskBytes   int64   `json:"diskBytes,omitempty"`   // what the session may write; default 1 GiB
	// StorageBytes is what each folder of session storage holds; default 1 GiB.
	StorageBytes int64 `json:"storageBytes,omitempty"`
}

// The defaults: the hardware of an AgentCore session is 2 vCPU and 8 GB, and
// 1 GB of session storage.
const (
	DefaultCPUs               = 2
	DefaultMemoryBytes  int64 = 8 << 30
	DefaultProcesses          = 4096
	DefaultDiskBytes    int64 = 1 << 30
	DefaultStorageBytes int64 = 1 << 30
)

// WithDefaults fills what is unset.
func (r Resources) WithDefaults() Resources {
	if r.CPUs == 0 {
		r.CPUs = DefaultCPUs
	}
	if r.MemoryBytes == 0 {
		r.MemoryBytes = DefaultMemoryBytes
	}
	if r.Processes == 0 {
		r.Processes = DefaultProcesses
	}
	if r.DiskBytes == 0 {
		r.DiskBytes = DefaultDiskBytes
	}
	if r.StorageBytes == 0 {
		r.StorageBytes = DefaultStorageBytes
	}
	return r
}

// Endpoint is a name that points at a version of an agent runtime.
type Endpoint struct {
	Runtime       RuntimeID     `json:"agentRuntimeId"`
	Name          EndpointName  `json:"name"`
	Version       VersionNumber `json:"liveVersion"`             // serves invocations; 0 while there is none
	Target        VersionNumber `json:"targetVersion,omitempty"` // will serve them; differs from Version while CREATING or UPDATING, and after a failure
	Status        Status        `json:"status"`
	FailureReason string        `json:"failureReason,omitempty"`
	Description   string        `json:"description,omitempty"`
	CreatedAt     time.Time     `json:"createdAt"`
	UpdatedAt     time.Time     `json:"lastUpdatedAt"`
}

// EndpointName names an endpoint; names are case-sensitive.
type EndpointName string

// DefaultEndpoint follows the newest READY version and cannot be deleted.
const DefaultEndpoint EndpointName = "DEFAULT"

// The bounds of an AgentCore runtime's environment variables.
const (
	maxEnvironment      = 50
	maxEnvironmentKey   = 100
	maxEnvironmentValue = 5000
)

// Validate reports everything that is wrong with s: an [Error] with
// CodeInvalid and the fields.
func (s VersionSpec) Validate() error {
	var p Problems
	if s.Artifact != nil {
		s.Artifact.check(&p)
	}
	if s.Description != "" {
		p.Length("description", s.Description, 1, 4096)
	}
	s.Lifecycle.check(&p)
	s.checkProtocol(&p)
	s.Network.check(&p)
	s.Resources.check(&p)
	s.Limits.check(&p)
	s.checkEnvironment(&p)
	if s.Role != "" && (len(s.Role) > 2048 || !roleRE.MatchString(s.Role)) {
		p.Add("roleArn", "%q is not the ARN of a role, such as arn:aws:iam::000000000000:role/agent", shorten(s.Role))
	}
	if s.NetworkSettings != nil {
		s.NetworkSettings.check(&p)
	}
	if s.Authorizer != nil {
		s.Authorizer.check(&p)
	}
	s.checkRequestHeaders(&p)
	checkPorts(&p, s.AllowedPorts)
	checkMountPaths(&p, s.Filesystems, s.Mounts)
	return p.Err()
}

func (s VersionSpec) checkProtocol(p *Problems) {
	switch s.Protocol {
	case "", ProtocolHTTP, ProtocolMCP, ProtocolA2A, ProtocolAGUI:
	default:
		p.Add("protocolConfiguration.serverProtocol", "%q is none of HTTP, MCP, A2A, AGUI", s.Protocol)
	}
	if s.Port != 0 && (s.Port < minPort || s.Port > maxPort || s.Port == reservedPort) {
		p.Add("protocolConfiguration.port", "%d must be %d to %d and not %d", s.Port, minPort, maxPort, reservedPort)
	}
	if s.Path != "" && (s.Path[0] != '/' || strings.ContainsAny(s.Path, "?#\x00 \r\n")) {
		p.Add("protocolConfiguration.path", "%q must begin with / and hold no ?, # or space", shorten(s.Path))
	}
}

func (r Resources) check(p *Problems) {
	if r.CPUs < 0 || r.MemoryBytes < 0 || r.Processes < 0 || r.DiskBytes < 0 || r.StorageBytes < 0 {
		p.Add("resources", "must not be negative: %+v", r)
		return
	}
	if r.CPUs > 0 && r.CPUs < minCPUs {
		p.Add("resources.cpus", "%g is less than a sandbox needs to start in time (%g)", r.CPUs, minCPUs)
	}
	if r.MemoryBytes > 0 && r.MemoryBytes < minMemoryBytes {
		p.Add("resources.memory", "of %d bytes is less than a sandbox itself needs (%d)", r.MemoryBytes, minMemoryBytes)
	}
	if r.StorageBytes > 0 && r.StorageBytes < minStorageBytes {
		p.Add("resources.storage", "of %d bytes is less than a file system needs (%d)", r.StorageBytes, minStorageBytes)
	}
}

func (s VersionSpec) checkEnvironment(p *Problems) {
	const field = "environmentVariables"
	if len(s.Environment) > maxEnvironment {
		p.Add(field, "has %d entries; at most %d are allowed", len(s.Environment), maxEnvironment)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
		v := s.Environment[k]
		if k == "" || len(k) > maxEnvironmentKey || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			p.Add(field, "name %q is not valid: a name has 1 to %d characters, without =", shorten(k), maxEnvironmentKey)
		} else if len(v) > maxEnvironmentValue {
			p.Add(field+"."+k, "has %d bytes; at most %d are allowed", len(v), maxEnvironmentValue)
		}
	}
}

// What gVisor and a small agent need to start.
const (
	minMemoryBytes = 64 << 20
	minCPUs        = 0.05
	// minStorageBytes is no less than volume.MinBytes.
	minStorageBytes = 16 << 20
)
