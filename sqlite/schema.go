package sqlite

// migrations are applied in order, each in a transaction of its own;
// PRAGMA user_version counts the applied ones. Never change one that was
// released: append.
//
// Times are Unix microseconds in UTC.
var migrations = []string{`
CREATE TABLE runtimes (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL UNIQUE,
	status     TEXT NOT NULL,
	latest     INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE versions (
	runtime_id     TEXT NOT NULL REFERENCES runtimes (id) ON DELETE CASCADE,
	number         INTEGER NOT NULL,
	spec           TEXT NOT NULL, -- JSON of isolde.VersionSpec
	image          TEXT NOT NULL,
	status         TEXT NOT NULL,
	failure_reason TEXT NOT NULL,
	created_at     INTEGER NOT NULL,
	PRIMARY KEY (runtime_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE endpoints (
	runtime_id TEXT NOT NULL REFERENCES runtimes (id) ON DELETE CASCADE,
	name       TEXT NOT NULL,
	version    INTEGER NOT NULL,
	status     TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	PRIMARY KEY (runtime_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
	runtime_id TEXT NOT NULL REFERENCES runtimes (id) ON DELETE CASCADE,
	id         TEXT NOT NULL,
	ended_at   INTEGER, -- NULL while it runs
	started_at INTEGER NOT NULL,
	record     TEXT NOT NULL, -- JSON of isolde.Session
	PRIMARY KEY (runtime_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_start ON sessions (started_at);
CREATE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;
`}
