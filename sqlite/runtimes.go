package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/isolde-run/isolde"
)

const runtimeColumns = `id, name, status, failure_reason, latest, description, created_at, updated_at`

// CreateRuntime implements isolde.RuntimeStore.
func (s *Store) CreateRuntime(ctx context.Context, once isolde.Once, r isolde.AgentRuntime, v isolde.Version, tags map[string]string) (isolde.Change, error) {
	v.Runtime, v.Number = r.ID, 1
	return s.change(ctx, "create runtime", once, func(tx *sql.Tx) (c isolde.Change, err error) {
		encoded, err := encodeTags(tags)
		if err != nil {
			return c, err
		}
		c.Runtime, err = one(ctx, tx, scanRuntime, nil,
			`INSERT INTO runtimes (id, name, status, failure_reason, latest, description, created_at, updated_at, tags)
			 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING `+runtimeColumns,
			r.ID, r.Name, r.Status, r.FailureReason, v.Number, v.Spec.Description, micros(r.CreatedAt), micros(r.UpdatedAt), encoded)
		if isUnique(err) {
			return c, isolde.Errorf(isolde.CodeConflict, "an agent runtime named %q exists already", r.Name).
				WithHint("update it, or choose another name")
		}
		if err != nil {
			return c, err
		}
		if c.Version, err = insertVersion(ctx, tx, v); err != nil {
			return c, err
		}
		e := isolde.Endpoint{
			Runtime: r.ID, Name: isolde.DefaultEndpoint, Target: v.Number,
			Status: r.Status, FailureReason: r.FailureReason, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		}
		if v.Status == isolde.StatusReady {
			e.Version = v.Number
		}
		_, err = insertEndpoint(ctx, tx, e, nil)
		return c, err
	})
}

// SetRuntimeStatus implements isolde.RuntimeStore.
func (s *Store) SetRuntimeStatus(ctx context.Context, once isolde.Once, r isolde.AgentRuntime) (isolde.Change, error) {
	return s.change(ctx, "set status of runtime", once, func(tx *sql.Tx) (c isolde.Change, err error) {
		c.Runtime, err = one(ctx, tx, scanRuntime, missingRuntime(r.ID),
			`UPDATE runtimes SET status = ?, failure_reason = ?, updated_at = ? WHERE id = ? RETURNING `+runtimeColumns,
			r.Status, r.FailureReason, micros(r.UpdatedAt), r.ID)
		return c, err
	})
}

// DeleteRuntime implements isolde.RuntimeStore.
func (s *Store) DeleteRuntime(ctx context.Context, id isolde.RuntimeID) error {
	return wrap("delete runtime", s.tx(ctx, func(tx *sql.Tx) error {
		return exec(ctx, tx, missingRuntime(id), `DELETE FROM runtimes WHERE id = ?`, id)
	}))
}

// Runtimes implements isolde.RuntimeReader.
func (s *Store) Runtimes(ctx context.Context, after string, limit int) ([]isolde.AgentRuntime, error) {
	all, err := list(ctx, s.read, scanRuntime,
		`SELECT `+runtimeColumns+` FROM runtimes WHERE name > ? ORDER BY name LIMIT ?`, after, orAll(limit))
	return all, wrap("list runtimes", err)
}

// Runtime implements isolde.RuntimeReader.
func (s *Store) Runtime(ctx context.Context, idOrName string) (isolde.AgentRuntime, error) {
	r, err := findRuntime(ctx, s.read, idOrName)
	return r, wrap("find runtime", err)
}

func findRuntime(ctx context.Context, q querier, idOrName string) (isolde.AgentRuntime, error) {
	return one(ctx, q, scanRuntime, missingRuntime(isolde.RuntimeID(idOrName)), runtimeBy(idOrName), idOrName)
}

// runtimeBy is the query for a runtime by what it is called.
func runtimeBy(idOrName string) string {
	if strings.Contains(idOrName, "-") {
		return `SELECT ` + runtimeColumns + ` FROM runtimes WHERE id = ?`
	}
	return `SELECT ` + runtimeColumns + ` FROM runtimes WHERE name = ?`
}

// Serving implements isolde.RuntimeReader.
func (s *Store) Serving(ctx context.Context, idOrName string) (r isolde.AgentRuntime, es []isolde.Endpoint, vs []isolde.Version, err error) {
	const op = "find what serves"
	q, err := s.read.snapshot(ctx, runtimeBy(idOrName), endpointsOf, versionsServing)
	if err != nil {
		return r, nil, nil, wrap(op, err)
	}
	defer q.Rollback() //nolint:errcheck // it has only read
	if r, err = findRuntime(ctx, q, idOrName); err != nil {
		return r, nil, nil, wrap(op, err)
	}
	if es, err = list(ctx, q, scanEndpoint, endpointsOf, r.ID); err != nil {
		return r, nil, nil, wrap(op, err)
	}
	vs, err = list(ctx, q, scanVersion, versionsServing, r.ID)
	return r, es, vs, wrap(op, err)
}

const versionsServing = `SELECT ` + versionColumns + ` FROM versions
	WHERE runtime_id = ?1 AND number IN (SELECT version FROM endpoints WHERE runtime_id = ?1) ORDER BY number DESC`

// Unfinished implements isolde.RuntimeReader.
func (s *Store) Unfinished(ctx context.Context) ([]isolde.AgentRuntime, error) {
	all, err := list(ctx, s.read, scanRuntime,
		`SELECT `+runtimeColumns+` FROM runtimes WHERE id IN (
			SELECT id FROM runtimes WHERE status IN `+unfinished+`
			UNION SELECT runtime_id FROM versions WHERE status IN `+unfinished+`
			UNION SELECT runtime_id FROM endpoints WHERE status IN `+unfinished+`) ORDER BY name`)
	return all, wrap("list what is unfinished", err)
}

func scanRuntime(row scanner) (r isolde.AgentRuntime, err error) {
	var created, updated int64
	if err := row.Scan(&r.ID, &r.Name, &r.Status, &r.FailureReason, &r.Latest, &r.Description, &created, &updated); err != nil {
		return isolde.AgentRuntime{}, err
	}
	r.CreatedAt, r.UpdatedAt = fromMicros(created), fromMicros(updated)
	return r, nil
}

// missingRuntime makes the error about a runtime that is not there.
func missingRuntime(id isolde.RuntimeID) func() error {
	return func() error { return noRuntime(id) }
}

func noRuntime(id isolde.RuntimeID) error {
	return isolde.Errorf(isolde.CodeNotFound, "no agent runtime %q", id).WithHint("isolde agent ls lists them")
}

func encodeTags(tags map[string]string) (string, error) {
	if len(tags) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(tags)
	if err != nil {
		return "", fmt.Errorf("encode tags: %w", err)
	}
	return string(text), nil
}
