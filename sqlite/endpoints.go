package sqlite

import (
	"context"
	"database/sql"

	"github.com/isolde-run/isolde"
)

const (
	endpointColumns = `runtime_id, name, version, target, status, failure_reason, description, created_at, updated_at`
	endpointsOf     = `SELECT ` + endpointColumns + ` FROM endpoints WHERE runtime_id = ? ORDER BY name`
)

// CreateEndpoint implements isolde.EndpointStore.
func (s *Store) CreateEndpoint(ctx context.Context, once isolde.Once, e isolde.Endpoint, tags map[string]string) (isolde.Change, error) {
	return s.change(ctx, "create endpoint", once, func(tx *sql.Tx) (c isolde.Change, err error) {
		if c.Runtime, err = findRuntime(ctx, tx, string(e.Runtime)); err != nil {
			return c, err
		}
		c.Endpoint, err = insertEndpoint(ctx, tx, e, tags)
		if isUnique(err) {
			err = isolde.Errorf(isolde.CodeConflict, "agent runtime %s has an endpoint %q already", e.Runtime, e.Name).
				WithHint("update it, or choose another name")
		}
		return c, err
	})
}

// PutEndpoint implements isolde.EndpointStore.
func (s *Store) PutEndpoint(ctx context.Context, once isolde.Once, e isolde.Endpoint) (isolde.Change, error) {
	return s.change(ctx, "put endpoint", once, func(tx *sql.Tx) (c isolde.Change, err error) {
		if c.Runtime, err = findRuntime(ctx, tx, string(e.Runtime)); err != nil {
			return c, err
		}
		c.Endpoint, err = one(ctx, tx, scanEndpoint, missingEndpoint(e.Runtime, e.Name),
			`UPDATE endpoints SET version = ?, target = ?, status = ?, failure_reason = ?, description = ?, updated_at = ?
			 WHERE runtime_id = ? AND name = ? RETURNING `+endpointColumns,
			e.Version, e.Target, e.Status, e.FailureReason, e.Description, micros(e.UpdatedAt), e.Runtime, e.Name)
		return c, err
	})
}

// DeleteEndpoint implements isolde.EndpointStore.
func (s *Store) DeleteEndpoint(ctx context.Context, id isolde.RuntimeID, name isolde.EndpointName) error {
	return wrap("delete endpoint", s.tx(ctx, func(tx *sql.Tx) error {
		return exec(ctx, tx, missingEndpoint(id, name), `DELETE FROM endpoints WHERE runtime_id = ? AND name = ?`, id, name)
	}))
}

// Endpoints implements isolde.RuntimeReader.
func (s *Store) Endpoints(ctx context.Context, id isolde.RuntimeID) ([]isolde.Endpoint, error) {
	all, err := list(ctx, s.read, scanEndpoint, endpointsOf, id)
	return all, wrap("list endpoints", err)
}

func insertEndpoint(ctx context.Context, tx *sql.Tx, e isolde.Endpoint, tags map[string]string) (isolde.Endpoint, error) {
	encoded, err := encodeTags(tags)
	if err != nil {
		return e, err
	}
	return one(ctx, tx, scanEndpoint, nil,
		`INSERT INTO endpoints (`+endpointColumns+`, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING `+endpointColumns,
		e.Runtime, e.Name, e.Version, e.Target, e.Status, e.FailureReason, e.Description, micros(e.CreatedAt), micros(e.UpdatedAt), encoded)
}

func scanEndpoint(row scanner) (e isolde.Endpoint, err error) {
	var created, updated int64
	if err := row.Scan(&e.Runtime, &e.Name, &e.Version, &e.Target, &e.Status, &e.FailureReason, &e.Description, &created, &updated); err != nil {
		return isolde.Endpoint{}, err
	}
	e.CreatedAt, e.UpdatedAt = fromMicros(created), fromMicros(updated)
	return e, nil
}

// missingEndpoint makes the error about an endpoint that is not there.
func missingEndpoint(id isolde.RuntimeID, name isolde.EndpointName) func() error {
	return func() error {
		return isolde.Errorf(isolde.CodeNotFound, "agent runtime %q has no endpoint %q", id, name)
	}
}
