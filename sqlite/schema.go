package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/isolde-run/isolde"
)

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
`, `
ALTER TABLE runtimes ADD COLUMN failure_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE runtimes ADD COLUMN description TEXT NOT NULL DEFAULT ''; -- of the newest version
ALTER TABLE runtimes ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'; -- JSON object
ALTER TABLE runtimes ADD COLUMN policy TEXT NOT NULL DEFAULT '';
UPDATE runtimes SET description = coalesce(
	(SELECT spec ->> '$.description' FROM versions WHERE runtime_id = id AND number = latest), '');

ALTER TABLE versions ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
UPDATE versions SET updated_at = created_at;

ALTER TABLE endpoints ADD COLUMN target INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN failure_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'; -- JSON object
ALTER TABLE endpoints ADD COLUMN policy TEXT NOT NULL DEFAULT '';
UPDATE endpoints SET target = version;

-- Bound to no runtime: the delete of one that is gone can be repeated.
CREATE TABLE tokens (
	operation  TEXT NOT NULL,
	token      TEXT NOT NULL,
	digest     TEXT NOT NULL,
	result     TEXT NOT NULL, -- JSON of isolde.Change
	created_at INTEGER NOT NULL,
	PRIMARY KEY (operation, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_age ON tokens (created_at);

-- What is under way is little: finding it must not read everything.
CREATE INDEX runtimes_unfinished ON runtimes (id) WHERE status IN ` + unfinished + `;
CREATE INDEX versions_unfinished ON versions (runtime_id) WHERE status IN ` + unfinished + `;
CREATE INDEX endpoints_unfinished ON endpoints (runtime_id) WHERE status IN ` + unfinished + `;
`}

// unfinished are the statuses that are not final, by [isolde.Status.Final].
// SQLite uses a partial index only for its own words.
const unfinished = `('CREATING', 'UPDATING', 'DELETING')`

// migrate applies those of the migrations that the database has not seen.
func (s *Store) migrate(ctx context.Context, path string, migrations []string) error {
	var at int
	if err := s.write.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&at); err != nil {
		return wrap("open database "+path, err)
	}
	if at > len(migrations) {
		return isolde.Errorf(isolde.CodeConflict, "the database %s is of a newer Isolde (schema %d; this one knows %d)", path, at, len(migrations)).
			WithHint("run that version, or name another data directory with --data-dir")
	}
	for ; at < len(migrations); at++ {
		err := s.tx(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, migrations[at]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, at+1))
			return err
		})
		if err != nil {
			return wrap(fmt.Sprintf("migrate database to schema %d", at+1), err)
		}
	}
	return nil
}
