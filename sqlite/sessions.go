package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/isolde-run/isolde"
)

// keepEnded is how long the record of an ended session is kept, by the rule
// that AgentCore drops session storage after 14 days.
const keepEnded = 14 * 24 * time.Hour

// PutSession implements isolde.SessionStore.
func (s *Store) PutSession(ctx context.Context, r isolde.Session) error {
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	ended := sql.NullInt64{Int64: micros(r.EndedAt), Valid: !r.EndedAt.IsZero()}
	err = s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO sessions (runtime_id, id, ended_at, started_at, record) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET ended_at = excluded.ended_at, started_at = excluded.started_at, record = excluded.record`,
			r.Runtime, r.ID, ended, micros(r.StartedAt), string(record))
		if isForeignKey(err) {
			return noRuntime(r.Runtime)
		}
		if err != nil || !ended.Valid {
			return err
		}
		return forgetOldSessions(ctx, tx)
	})
	return wrap("put session", err)
}

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
