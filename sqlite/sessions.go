package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"time"

	"github.com/isolde-run/isolde"
)

// keepEnded is how long the record of an ended session is kept, by the rule
// that AgentCore drops session storage after 14 days.
const keepEnded = 14 * 24 * time.Hour

// maxEnded is how many records of ended sessions are kept, the newest, which
// are about 60 MB. They are counted at every countEvery-th end.
const (
	maxEnded   = 100_000
	countEvery = 1000
)

// Sessions implements isolde.SessionStore.
func (s *Store) Sessions(ctx context.Context, id isolde.RuntimeID, ended bool, limit int) ([]isolde.Session, error) {
	all, err := list(ctx, s.read, scanSession,
		`SELECT record FROM sessions WHERE (?1 = '' OR runtime_id = ?1) AND (?2 OR ended_at IS NULL)
		 ORDER BY started_at DESC LIMIT ?3`, id, ended, orAll(limit))
	return all, wrap("list sessions", err)
}

// SessionsByID implements isolde.SessionStore.
func (s *Store) SessionsByID(ctx context.Context, id isolde.SessionID) ([]isolde.Session, error) {
	all, err := list(ctx, s.read, scanSession, `SELECT record FROM sessions WHERE id = ?`, id)
	return all, wrap("find session", err)
}

// EndedSessions implements isolde.SessionHistory.
func (s *Store) EndedSessions(ctx context.Context, q isolde.EndedQuery) ([]isolde.Session, error) {
	before := int64(math.MaxInt64)
	if !q.Before.EndedAt.IsZero() {
		before = micros(q.Before.EndedAt)
	}
	all, err := list(ctx, s.read, scanSession,
		`SELECT record FROM sessions WHERE ended_at <= ?1 AND (ended_at < ?1 OR (runtime_id, id) > (?2, ?3))
		 AND (?4 = '' OR runtime_id = ?4) AND (?5 = '' OR record ->> '$.userId' = ?5)
		 AND (?6 = '' OR instr(id, ?6) = 1)
		 ORDER BY ended_at DESC, runtime_id, id LIMIT ?7`, before, q.Before.Runtime, q.Before.ID, q.Runtime, q.User, q.Prefix, orAll(q.Limit))
	return all, wrap("list ended sessions", err)
}

func scanSession(row scanner) (r isolde.Session, err error) {
	var record []byte
	if err := row.Scan(&record); err != nil {
		return r, err
	}
	return r, json.Unmarshal(record, &r)
}

func forgetOldSessions(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE ended_at < ?`, micros(time.Now().Add(-keepEnded)))
	return err
}

// forgetMoreThan removes the records of ended sessions beyond the newest keep.
// It counts them, which takes some milliseconds.
func forgetMoreThan(ctx context.Context, tx *sql.Tx, keep int) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE ended_at <= (
		SELECT ended_at FROM sessions WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1 OFFSET ?)`, keep)
	return err
}
