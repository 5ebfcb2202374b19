package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/isolde-run/isolde"
)

// CreateRuntime implements isolde.RuntimeStore.
func (s *Store) CreateRuntime(ctx context.Context, r isolde.AgentRuntime, v isolde.Version) error {
	err := s.tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO runtimes VALUES (?, ?, ?, ?, ?, ?)`,
			r.ID, r.Name, r.Status, v.Number, micros(r.CreatedAt), micros(r.UpdatedAt)); err != nil {
			return err
		}
		if err := insertVersion(ctx, tx, v); err != nil {
			return err
		}
		live := isolde.VersionNumber(0)
		if v.Status == isolde.StatusReady {
			live = v.Number
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO endpoints VALUES (?, ?, ?, ?, ?, ?)`,
			r.ID, isolde.DefaultEndpoint, live, v.Status, micros(r.CreatedAt), micros(r.UpdatedAt))
		return err
	})
	if isUnique(err) {
		return isolde.Errorf(isolde.CodeConflict, "an agent runtime named %q exists already", r.Name)
	}
	return wrap("create runtime", err)
}

// CreateVersion implements isolde.RuntimeStore.
func (s *Store) CreateVersion(ctx context.Context, v isolde.Version) (isolde.Version, error) {
	err := s.tx(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx,
			`UPDATE runtimes SET latest = latest + 1, status = ?, updated_at = ? WHERE id = ? RETURNING latest`,
			v.Status, micros(v.CreatedAt), v.Runtime).Scan(&v.Number)
		if errors.Is(err, sql.ErrNoRows) {
			return notFound(string(v.Runtime))
		}
		if err != nil {
			return err
		}
		if err := insertVersion(ctx, tx, v); err != nil {
			return err
		}
		if v.Status != isolde.StatusReady {
			return nil
		}
		_, err = tx.ExecContext(ctx, `UPDATE endpoints SET version = ?, status = ?, updated_at = ? WHERE runtime_id = ? AND name = ?`,
			v.Number, v.Status, micros(v.CreatedAt), v.Runtime, isolde.DefaultEndpoint)
		return err
	})
	return v, wrap("create version", err)
}

func insertVersion(ctx context.Context, tx *sql.Tx, v isolde.Version) error {
	spec, err := json.Marshal(v.Spec)
	if err != nil {
		return fmt.Errorf("encode version: %w", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)`,
		v.Runtime, v.Number, string(spec), v.Image, v.Status, v.FailureReason, micros(v.CreatedAt))
	return err
}

const runtimeColumns = `id, name, status, latest, created_at, updated_at`

// Runtimes implements isolde.RuntimeStore.
func (s *Store) Runtimes(ctx context.Context, after string, limit int) ([]isolde.AgentRuntime, error) {
	return list(ctx, s.read, scanRuntime, "list runtimes",
		`SELECT `+runtimeColumns+` FROM runtimes WHERE name > ? ORDER BY name LIMIT ?`, after, orAll(limit))
}

// Runtime implements isolde.RuntimeStore.
func (s *Store) Runtime(ctx context.Context, idOrName string) (isolde.AgentRuntime, error) {
	rs, err := list(ctx, s.read, scanRuntime, "find runtime",
		`SELECT `+runtimeColumns+` FROM runtimes WHERE id = ?1 OR name = ?1`, idOrName)
	if err == nil && len(rs) == 0 {
		err = notFound(idOrName)
	}
	if err != nil {
		return isolde.AgentRuntime{}, err
	}
	return rs[0], nil
}

func scanRuntime(row scanner) (r isolde.AgentRuntime, err error) {
	var created, updated int64
	err = row.Scan(&r.ID, &r.Name, &r.Status, &r.Latest, &created, &updated)
	r.CreatedAt, r.UpdatedAt = fromMicros(created), fromMicros(updated)
	return r, err
}

// Versions implements isolde.RuntimeStore.
func (s *Store) Versions(ctx context.Context, id isolde.RuntimeID) ([]isolde.Version, error) {
	return list(ctx, s.read, scanVersion, "list versions",
		`SELECT runtime_id, number, spec, image, status, failure_reason, created_at
		 FROM versions WHERE runtime_id = ? ORDER BY number DESC`, id)
}

func scanVersion(row scanner) (v isolde.Version, err error) {
	var created int64
	var spec []byte
	if err := row.Scan(&v.Runtime, &v.Number, &spec, &v.Image, &v.Status, &v.FailureReason, &created); err != nil {
		return v, err
	}
	v.CreatedAt = fromMicros(created)
	return v, json.Unmarshal(spec, &v.Spec)
}

// Endpoints implements isolde.RuntimeStore.
func (s *Store) Endpoints(ctx context.Context, id isolde.RuntimeID) ([]isolde.Endpoint, error) {
	return list(ctx, s.read, scanEndpoint, "list endpoints",
		`SELECT runtime_id, name, version, status, created_at, updated_at
		 FROM endpoints WHERE runtime_id = ? ORDER BY name`, id)
}

func scanEndpoint(row scanner) (e isolde.Endpoint, err error) {
	var created, updated int64
	err = row.Scan(&e.Runtime, &e.Name, &e.Version, &e.Status, &created, &updated)
	e.CreatedAt, e.UpdatedAt = fromMicros(created), fromMicros(updated)
	return e, err
}

// DeleteRuntime implements isolde.RuntimeStore.
func (s *Store) DeleteRuntime(ctx context.Context, id isolde.RuntimeID) error {
	res, err := s.write.ExecContext(ctx, `DELETE FROM runtimes WHERE id = ?`, id)
	if err != nil {
		return wrap("delete runtime", err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return notFound(string(id))
	}
	return nil
}

func notFound(idOrName string) error {
	return isolde.Errorf(isolde.CodeNotFound, "no agent runtime %q", idOrName).WithHint("isolde agent ls lists them")
}

// PutSession implements isolde.SessionStore.
func (s *Store) PutSession(ctx context.Context, r isolde.Session) error {
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	ended := sql.NullInt64{Int64: micros(r.EndedAt), Valid: !r.EndedAt.IsZero()}
	_, err = s.write.ExecContext(ctx, `INSERT INTO sessions VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET ended_at = excluded.ended_at, started_at = excluded.started_at, record = excluded.record`,
		r.Runtime, r.ID, ended, micros(r.StartedAt), string(record))
	if isForeignKey(err) {
		return notFound(string(r.Runtime))
	}
	if err == nil && ended.Valid {
		err = s.forgetOldSessions(ctx)
	}
	return wrap("put session", err)
}

// Sessions implements isolde.SessionStore.
func (s *Store) Sessions(ctx context.Context, id isolde.RuntimeID, ended bool, limit int) ([]isolde.Session, error) {
	return list(ctx, s.read, scanSession, "list sessions",
		`SELECT record FROM sessions WHERE (?1 = '' OR runtime_id = ?1) AND (?2 OR ended_at IS NULL)
		 ORDER BY started_at DESC LIMIT ?3`, id, ended, orAll(limit))
}

// SessionsByID implements isolde.SessionStore.
func (s *Store) SessionsByID(ctx context.Context, id isolde.SessionID) ([]isolde.Session, error) {
	return list(ctx, s.read, scanSession, "find session", `SELECT record FROM sessions WHERE id = ?`, id)
}

func scanSession(row scanner) (r isolde.Session, err error) {
	var record []byte
	if err := row.Scan(&record); err != nil {
		return r, err
	}
	return r, json.Unmarshal(record, &r)
}

type scanner interface{ Scan(dest ...any) error }

func list[T any](ctx context.Context, db *sql.DB, scan func(scanner) (T, error), op, query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrap(op, err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, wrap(op, err)
		}
		out = append(out, v)
	}
	return out, wrap(op, rows.Err())
}

// orAll turns the interface's 0 into SQLite's "no limit".
func orAll(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}
