package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"

	"github.com/isolde-run/isolde"
)

const versionColumns = `runtime_id, number, spec, image, status, failure_reason, created_at, updated_at`

// AddVersion implements isolde.RuntimeStore.
func (s *Store) AddVersion(ctx context.Context, once isolde.Once, v isolde.Version) (isolde.Change, error) {
	if v.UpdatedAt.IsZero() {
		v.UpdatedAt = v.CreatedAt
	}
	return s.change(ctx, "add version", once, func(tx *sql.Tx) (c isolde.Change, err error) {
		c.Runtime, err = one(ctx, tx, scanRuntime, missingRuntime(v.Runtime),
			`UPDATE runtimes SET latest = latest + 1, status = ?, failure_reason = ?, description = ?, updated_at = ?
			 WHERE id = ? RETURNING `+runtimeColumns,
			v.Status, v.FailureReason, v.Spec.Description, micros(v.UpdatedAt), v.Runtime)
		if err != nil {
			return c, err
		}
		v.Number = c.Runtime.Latest
		if c.Version, err = insertVersion(ctx, tx, v); err != nil {
			return c, err
		}
		return c, moveDefault(ctx, tx, v)
	})
}

// FinishVersion implements isolde.RuntimeStore.
func (s *Store) FinishVersion(ctx context.Context, v isolde.Version) error {
	return wrap("finish version", s.tx(ctx, func(tx *sql.Tx) error {
		err := exec(ctx, tx, missingVersion(v.Runtime, v.Number),
			`UPDATE versions SET image = ?, status = ?, failure_reason = ?, updated_at = ? WHERE runtime_id = ? AND number = ?`,
			v.Image, v.Status, v.FailureReason, micros(v.UpdatedAt), v.Runtime, v.Number)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE runtimes SET status = ?, failure_reason = ?, updated_at = ? WHERE id = ? AND latest = ?`,
			v.Status, v.FailureReason, micros(v.UpdatedAt), v.Runtime, v.Number)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err // a newer version has taken over
		}
		return moveDefault(ctx, tx, v)
	}))
}

// moveDefault lets DEFAULT follow the newest version.
func moveDefault(ctx context.Context, tx *sql.Tx, v isolde.Version) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE endpoints SET target = ?1, version = iif(?2, ?1, version), status = ?3, failure_reason = ?4, updated_at = ?5
		 WHERE runtime_id = ?6 AND name = ?7`,
		v.Number, v.Status == isolde.StatusReady, v.Status, v.FailureReason, micros(v.UpdatedAt), v.Runtime, isolde.DefaultEndpoint)
	return err
}

// DeleteVersion implements isolde.RuntimeStore.
func (s *Store) DeleteVersion(ctx context.Context, once isolde.Once, v isolde.Version) (isolde.Change, error) {
	return s.change(ctx, "delete version", once, func(tx *sql.Tx) (c isolde.Change, err error) {
		if c.Runtime, err = findRuntime(ctx, tx, string(v.Runtime)); err != nil {
			return c, err
		}
		named, err := list(ctx, tx, scanEndpoint,
			`SELECT `+endpointColumns+` FROM endpoints WHERE runtime_id = ? AND ? IN (version, target) ORDER BY name LIMIT 1`, v.Runtime, v.Number)
		if err != nil {
			return c, err
		}
		if len(named) > 0 {
			return c, isolde.Errorf(isolde.CodeConflict, "version %d of agent runtime %s is used by its endpoint %q", v.Number, v.Runtime, named[0].Name).
				WithHint("update the endpoint to another version first")
		}
		c.Version, err = one(ctx, tx, scanVersion, missingVersion(v.Runtime, v.Number),
			`DELETE FROM versions WHERE runtime_id = ? AND number = ? RETURNING `+versionColumns, v.Runtime, v.Number)
		return c, err
	})
}

// Versions implements isolde.RuntimeReader.
func (s *Store) Versions(ctx context.Context, id isolde.RuntimeID, before isolde.VersionNumber, limit int) ([]isolde.Version, error) {
	if before == 0 {
		before = math.MaxInt32
	}
	all, err := list(ctx, s.read, scanVersion,
		`SELECT `+versionColumns+` FROM versions WHERE runtime_id = ? AND number < ? ORDER BY number DESC LIMIT ?`, id, before, orAll(limit))
	return all, wrap("list versions", err)
}

// Version implements isolde.RuntimeReader.
func (s *Store) Version(ctx context.Context, id isolde.RuntimeID, n isolde.VersionNumber) (isolde.Version, error) {
	v, err := one(ctx, s.read, scanVersion, missingVersion(id, n),
		`SELECT `+versionColumns+` FROM versions WHERE runtime_id = ? AND number = ?`, id, n)
	return v, wrap("find version", err)
}

func insertVersion(ctx context.Context, tx *sql.Tx, v isolde.Version) (isolde.Version, error) {
	spec, err := json.Marshal(v.Spec)
	if err != nil {
		return v, fmt.Errorf("encode version: %w", err)
	}
	if v.UpdatedAt.IsZero() {
		v.UpdatedAt = v.CreatedAt
	}
	return one(ctx, tx, scanVersion, nil,
		`INSERT INTO versions (`+versionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING `+versionColumns,
		v.Runtime, v.Number, string(spec), v.Image, v.Status, v.FailureReason, micros(v.CreatedAt), micros(v.UpdatedAt))
}

func scanVersion(row scanner) (v isolde.Version, err error) {
	var created, updated int64
	var spec []byte
	if err := row.Scan(&v.Runtime, &v.Number, &spec, &v.Image, &v.Status, &v.FailureReason, &created, &updated); err != nil {
		return isolde.Version{}, err
	}
	v.CreatedAt, v.UpdatedAt = fromMicros(created), fromMicros(updated)
	return v, json.Unmarshal(spec, &v.Spec)
}

func scanText(row scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}

// missingVersion makes the error about a version that is not there.
func missingVersion(id isolde.RuntimeID, n isolde.VersionNumber) func() error {
	return func() error {
		return isolde.Errorf(isolde.CodeNotFound, "agent runtime %q has no version %d", id, n)
	}
}
