package isolde

import "context"

// Store remembers agent runtimes and sessions across restarts. All methods
// are safe for concurrent use and return when ctx ends; a change is either
// durable when the method returns nil, or did not happen. A missing row is an
// [Error] with CodeNotFound, a broken uniqueness one with CodeConflict.
type Store interface {
	RuntimeStore
	SessionStore
	Close() error
}

// RuntimeStore keeps agent runtimes, their versions and endpoints.
type RuntimeStore interface {
	// CreateRuntime stores a runtime with its first version and its DEFAULT
	// endpoint. CodeConflict when the name is taken.
	CreateRuntime(ctx context.Context, r AgentRuntime, v Version) error
	// CreateVersion stores the next version of v.Runtime and returns it with
	// its Number. A READY version moves DEFAULT to it. CodeNotFound when the
	// runtime is gone.
	CreateVersion(ctx context.Context, v Version) (Version, error)
	// Runtimes lists runtimes by name, from the one after the name "after",
	// at most limit (0: all).
	Runtimes(ctx context.Context, after string, limit int) ([]AgentRuntime, error)
	// Runtime finds a runtime by id or by name; the two cannot be confused,
	// since only an id holds a hyphen.
	Runtime(ctx context.Context, idOrName string) (AgentRuntime, error)
	// Versions lists a runtime's versions, newest first.
	Versions(ctx context.Context, id RuntimeID) ([]Version, error)
	// Endpoints lists a runtime's endpoints by name.
	Endpoints(ctx context.Context, id RuntimeID) ([]Endpoint, error)
	// DeleteRuntime removes a runtime with its versions, endpoints and
	// session records. CodeNotFound if there is none.
	DeleteRuntime(ctx context.Context, id RuntimeID) error
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
