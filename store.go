package isolde

import "context"

// Store remembers agent runtimes and sessions across restarts. All methods
// are safe for concurrent use and return when ctx ends; a change is either
// durable when the method returns nil, or did not happen. A missing row is an
// [Error] with CodeNotFound, a broken uniqueness one with CodeConflict.
//
// The store keeps what it is told; which change is allowed in which state is
// package catalog's to know.
type Store interface {
	RuntimeReader
	RuntimeStore
	EndpointStore
	ResourceStore
	SessionStore
	SessionHistory
	Close() error
}

// RuntimeReader finds agent runtimes, their versions and endpoints.
type RuntimeReader interface {
	// Runtimes lists runtimes by name, from the one after the name "after",
	// at most limit (0: all).
	Runtimes(ctx context.Context, after string, limit int) ([]AgentRuntime, error)
	// Runtime finds a runtime by id or by name; the two cannot be confused,
	// since only an id holds a hyphen.
	Runtime(ctx context.Context, idOrName string) (AgentRuntime, error)
	// Versions lists a runtime's versions, newest first, from the one before
	// the number "before" (0: the newest), at most limit (0: all). It is empty
	// for an unknown runtime.
	Versions(ctx context.Context, id RuntimeID, before VersionNumber, limit int) ([]Version, error)
	// Version finds one version.
	Version(ctx context.Context, id RuntimeID, n VersionNumber) (Version, error)
	// Endpoints lists a runtime's endpoints by name. It is empty for an
	// unknown runtime.
	Endpoints(ctx context.Context, id RuntimeID) ([]Endpoint, error)
	// Serving finds, as of one moment, a runtime by id or name, its endpoints
	// and the versions that serve one of them.
	Serving(ctx context.Context, idOrName string) (AgentRuntime, []Endpoint, []Version, error)
	// Unfinished lists the runtimes of which something is not in a final
	// status: itself, a version or an endpoint.
	Unfinished(ctx context.Context) ([]AgentRuntime, error)
}

// Once makes a change idempotent. The store keeps the token with the change,
// for a day.
type Once struct {
	Operation string // the API's name of it
	Token     string // the caller's; empty: nothing is kept
	Digest    string // of the whole request but the token
}

// Change is what a change made or touched, as it was when it was made.
type Change struct {
	Runtime  AgentRuntime `json:"runtime"`
	Version  Version      `json:"version,omitzero"`  // zero for changes of endpoints
	Endpoint Endpoint     `json:"endpoint,omitzero"` // zero for changes of runtimes and versions
}

// RuntimeStore changes agent runtimes and their versions.
type RuntimeStore interface {
	// Repeated finds the change that was made with once's token before; nil if
	// there is none. CodeMismatch when it was made for another request. The
	// methods below that take an Once keep it with their change, and fail with
	// CodeConflict when the token is there already.
	Repeated(ctx context.Context, once Once) (*Change, error)
	// CreateRuntime stores a runtime with its first version and its DEFAULT
	// endpoint, whose statuses are r's. CodeConflict when the name is taken.
	CreateRuntime(ctx context.Context, once Once, r AgentRuntime, v Version, tags map[string]string) (Change, error)
	// AddVersion stores the next version of v.Runtime and returns it with its
	// Number. The runtime and DEFAULT take v's status and DEFAULT targets the
	// version; it serves it at once if v is READY.
	AddVersion(ctx context.Context, once Once, v Version) (Change, error)
	// FinishVersion ends the making of a version: it takes v's Image, Status,
	// FailureReason and UpdatedAt. The runtime and DEFAULT take the status if
	// it is the newest version, and DEFAULT serves it if that is READY.
	FinishVersion(ctx context.Context, v Version) error
	// SetRuntimeStatus sets r's Status, FailureReason and UpdatedAt.
	SetRuntimeStatus(ctx context.Context, once Once, r AgentRuntime) (Change, error)
	// DeleteVersion removes a version. CodeConflict while an endpoint names it.
	DeleteVersion(ctx context.Context, once Once, v Version) (Change, error)
	// DeleteRuntime removes a runtime with its versions, endpoints, tags,
	// policies and session records.
	DeleteRuntime(ctx context.Context, id RuntimeID) error
	// Prune removes the versions that no endpoint names, that are not in used,
	// not among the newest keep of their runtime, and final; it returns the
	// images that those left name, each once.
	Prune(ctx context.Context, keep int, used []VersionRef) (images []string, err error)
}

// VersionRef names a version.
type VersionRef struct {
	Runtime RuntimeID     `json:"runtime"`
	Number  VersionNumber `json:"number"`
}

// EndpointStore changes endpoints.
type EndpointStore interface {
	// CreateEndpoint stores an endpoint. CodeConflict when the name is taken.
	CreateEndpoint(ctx context.Context, once Once, e Endpoint, tags map[string]string) (Change, error)
	// PutEndpoint replaces an endpoint's Version, Target, Status,
	// FailureReason, Description and UpdatedAt.
	PutEndpoint(ctx context.Context, once Once, e Endpoint) (Change, error)
	// DeleteEndpoint removes an endpoint with its tags and policy.
	DeleteEndpoint(ctx context.Context, id RuntimeID, name EndpointName) error
}

// Resource is what has tags and a policy: an agent runtime, or one of its
// endpoints if that is named.
type Resource struct {
	Runtime  RuntimeID
	Endpoint EndpointName
}

// ResourceStore keeps tags and resource policies. All methods fail with
// CodeNotFound when the resource is not there.
type ResourceStore interface {
	// Tags are a resource's tags; not nil.
	Tags(ctx context.Context, r Resource) (map[string]string, error)
	// ChangeTags sets and then removes tags. CodeQuota, and no change, if more
	// than [MaxTags] would be left.
	ChangeTags(ctx context.Context, r Resource, set map[string]string, remove []string) error
	// Policy is a resource's policy document; empty if it has none.
	Policy(ctx context.Context, r Resource) (string, error)
	// SetPolicy replaces it; an empty document removes it.
	SetPolicy(ctx context.Context, r Resource, document string) error
}

// SessionStore keeps what is needed to find sessions again after a restart,
// and how the last ones ended.
type SessionStore interface {
	// PutSession inserts or replaces the record of a session.
	PutSession(ctx context.Context, s Session) error
	// Sessions lists the records of an agent runtime, of all if id is empty,
	// newest first; ended ones only if asked for, at most limit (0: all).
	Sessions(ctx context.Context, id RuntimeID, ended bool, limit int) ([]Session, error)
	// SessionsByID lists the records of an id: one for each agent runtime that
	// has had such a session.
	SessionsByID(ctx context.Context, id SessionID) ([]Session, error)
}

// SessionHistory finds sessions that ended. It forgets them after a while, the
// oldest first.
type SessionHistory interface {
	// EndedSessions lists the records of ended sessions, the newest end first.
	EndedSessions(ctx context.Context, q EndedQuery) ([]Session, error)
}

// EndedQuery selects ended sessions.
type EndedQuery struct {
	Runtime RuntimeID // empty: of all
	User    string    // empty: of all
	Prefix  string    // with which the ids begin
	// Before is the last session that was listed already: those that come after
	// it are wanted. Its key and EndedAt count; zero is the beginning.
	Before Session
	Limit  int // 0: all
}
