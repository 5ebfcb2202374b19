// Package operator is Isolde's own API under /isolde/v1/, for what the
// AgentCore API has no operation: deploy a folder, see sessions, end them,
// read their output, wait for what was begun, back the server up. [Handler]
// serves it and [Client] calls it.
//
// openapi.yaml describes all of it, is served at /isolde/v1/openapi.yaml, and
// the tests hold both sides to it. Every answer is JSON, or a stream of JSON lines (application/x-ndjson).
// Errors have the form of [ErrorBody] with the status of their code.
package operator

import (
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
)

// ErrorBody is the JSON of an error, as a body or within a [DeployEvent].
type ErrorBody struct {
	Code    isolde.Code `json:"code"`
	Message string      `json:"message"`
	Hint    string      `json:"hint,omitempty"`
}

// Info is what GET /isolde/v1/info answers.
type Info struct {
	Version      string                `json:"version"` // of the server
	Region       string                `json:"region"`
	Account      string                `json:"account"`
	Driver       string                `json:"driver"`    // the one in use
	Isolation    string                `json:"isolation"` // what it isolates
	DataDir      string                `json:"dataDir"`
	StartedAt    time.Time             `json:"startedAt"`
	S3           string                `json:"s3,omitempty"` // where code artifacts are: S3Embedded or the URL of another store
	Usage        Usage                 `json:"usage"`
	Fingerprints []sandbox.Fingerprint `json:"drivers,omitempty"`
}

// Usage is what sessions take of the server's limits, now.
type Usage struct {
	Sessions        int   `json:"sessions"`
	MaxSessions     int   `json:"maxSessions"`
	MemoryPromised  int64 `json:"memoryPromisedBytes"`            // what the sessions may use together
	MemoryBudget    int64 `json:"memoryBudgetBytes,omitempty"`    // 0: promises are not bounded
	MemoryTotal     int64 `json:"memoryTotalBytes,omitempty"`     // the machine's; 0: not known
	MemoryAvailable int64 `json:"memoryAvailableBytes,omitempty"` // of it, not in use
}

// Alive is what GET /healthz answers, to anyone.
type Alive struct {
	Status         string `json:"status"`         // ok
	Authentication string `json:"authentication"` // AuthNone or AuthKeys
	Region         string `json:"region"`         // that requests must be signed for
}

// The values of [Alive.Authentication].
const (
	AuthNone = "none" // nobody is asked for credentials
	AuthKeys = "keys" // everything but /healthz needs a key of the server, or a token
)

// S3Embedded is the [Info].S3 of a server that answers S3's calls itself.
const S3Embedded = "embedded"

// Deployment is what POST /isolde/v1/deployments takes. For a folder it is the
// "spec" part of a multipart/form-data body whose second part, "source", is a
// tar stream as [image.Pack] makes it; for a spec with an artifact it is the
// whole body, as application/json. The answer is a stream of [DeployEvent].
type Deployment struct {
	Name string             `json:"name"`
	Spec isolde.VersionSpec `json:"spec"`
}

// DeployEvent is one line of a deployment's answer, and of that of
// GET /isolde/v1/agents/{agent}/build: the progress of what was begun in
// another way, until it is over. Exactly one field is set, and the last line
// has Result or Error.
type DeployEvent struct {
	Progress *image.Progress `json:"progress,omitempty"`
	Result   *Deployed       `json:"result,omitempty"`
	Error    *ErrorBody      `json:"error,omitempty"`
}

// Deployed is a version that is READY. Created and Changed are false in the
// answer of a wait, which does neither.
type Deployed struct {
	ARN     string               `json:"agentRuntimeArn"`
	ID      isolde.RuntimeID     `json:"agentRuntimeId"`
	Name    string               `json:"agentRuntimeName"`
	Version isolde.VersionNumber `json:"agentRuntimeVersion,string"`
	Status  isolde.Status        `json:"status"`
	Created bool                 `json:"created"` // false: a new version of an agent that was there, or no change
	Changed bool                 `json:"changed"` // false: the newest version is already exactly this
}

// Agent is an agent runtime as GET /isolde/v1/agents/{agent} answers it, agent
// being an id, a name or an ARN. The list, GET /isolde/v1/agents, leaves
// Versions and Endpoints out.
type Agent struct {
	isolde.AgentRuntime
	ARN       string            `json:"agentRuntimeArn"`
	Versions  []isolde.Version  `json:"versions,omitempty"` // newest first
	Endpoints []isolde.Endpoint `json:"endpoints,omitempty"`
	Sessions  int               `json:"sessions"` // running now
}

// EndpointList is what GET /isolde/v1/agents/{agent}/endpoints answers.
type EndpointList struct {
	Endpoints []isolde.Endpoint `json:"endpoints"`
}

// EndpointChange is the body of PUT /isolde/v1/agents/{agent}/endpoints/{name},
// which makes the endpoint or changes it, and answers an [isolde.Endpoint]
// once nothing is under way any more: READY, or with a FailureReason. DELETE
// there answers {} once the endpoint is gone.
type EndpointChange struct {
	Version     isolde.VersionNumber `json:"version,omitempty"`     // 0: as it is, the newest for a new endpoint
	Description *string              `json:"description,omitempty"` // nil: as it is
}

// SessionList is what GET /isolde/v1/sessions answers: a page of the list, in
// which the running sessions come first, the newest start first, and then, if
// asked for, those that ended, the newest end first.
type SessionList struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"` // what "after" is for the next page; empty at the last one
}

// Session is a session; with stats=true it says what its sandbox uses now, as
// far as that can be measured.
type Session struct {
	isolde.Session
	AgentName   string   `json:"agentRuntimeName"`
	CPUSeconds  float64  `json:"cpuSeconds,omitempty"` // since the start
	CPUPercent  *float64 `json:"cpuPercent,omitempty"` // of one CPU, during the last 0.2 s
	MemoryBytes int64    `json:"memoryBytes,omitempty"`
}

// WatchEvent is one line of GET /isolde/v1/sessions/watch: first the sessions
// that run, then Synced, then each session that starts, changes or ends. Error
// is the last line of a watch that missed something.
type WatchEvent struct {
	Session *Session   `json:"session,omitempty"`
	Synced  bool       `json:"synced,omitempty"`
	Error   *ErrorBody `json:"error,omitempty"`
}

// Health is what GET /isolde/v1/sessions/{session}/health answers: how the
// session's agent answered a ping just now, which is no use of the session. A
// session that does not run is not healthy.
type Health struct {
	AgentName    string              `json:"agentRuntimeName"`
	Runtime      isolde.RuntimeID    `json:"agentRuntimeId"`
	Session      isolde.SessionID    `json:"runtimeSessionId"`
	State        isolde.SessionState `json:"state"`
	Healthy      bool                `json:"healthy"`
	Busy         bool                `json:"busy,omitempty"`       // it said HealthyBusy
	Status       int                 `json:"httpStatus,omitempty"` // of its answer
	Answer       string              `json:"answer,omitempty"`     // its body, at most 4 KiB
	Error        string              `json:"error,omitempty"`      // why it is not healthy
	Milliseconds float64             `json:"milliseconds,omitempty"`
}

// StopResult is what DELETE on /isolde/v1/sessions (all that a query selects)
// and /isolde/v1/sessions/{session} answers.
type StopResult struct {
	Stopped []isolde.SessionID `json:"stopped"`
}

// LogLine is a line of an agent's output, from the stream of
// GET /isolde/v1/logs. Query parameters: agent (id or name, optional),
// session (optional), follow=true, tail=N lines (default 200; -1 all), since (a
// time of RFC 3339, in place of tail), request (an id).
type LogLine struct {
	Agent   string           `json:"agentRuntimeName"`
	Session isolde.SessionID `json:"runtimeSessionId"`
	Line    string           `json:"line"` // without its newline
}
