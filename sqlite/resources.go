package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/isolde-run/isolde"
)

// place is where a resource's row is.
type place struct {
	table, where string
	args         []any
	missing      func() error
}

func placeOf(r isolde.Resource) place {
	if r.Endpoint == "" {
		return place{"runtimes", "id = ?", []any{r.Runtime}, missingRuntime(r.Runtime)}
	}
	return place{"endpoints", "runtime_id = ? AND name = ?", []any{r.Runtime, r.Endpoint}, missingEndpoint(r.Runtime, r.Endpoint)}
}

func (p place) get(ctx context.Context, q querier, column string) (string, error) {
	return one(ctx, q, scanText, p.missing, `SELECT `+column+` FROM `+p.table+` WHERE `+p.where, p.args...)
}

func (p place) set(ctx context.Context, tx *sql.Tx, column, value string) error {
	return exec(ctx, tx, p.missing, `UPDATE `+p.table+` SET `+column+` = ? WHERE `+p.where, append([]any{value}, p.args...)...)
}

func (p place) tags(ctx context.Context, q querier) (map[string]string, error) {
	text, err := p.get(ctx, q, "tags")
	if err != nil {
		return nil, err
	}
	tags := make(map[string]string)
	if err := json.Unmarshal([]byte(text), &tags); err != nil {
		return nil, fmt.Errorf("decode tags: %w", err)
	}
	return tags, nil
}

// Tags implements isolde.ResourceStore.
func (s *Store) Tags(ctx context.Context, r isolde.Resource) (map[string]string, error) {
	tags, err := placeOf(r).tags(ctx, s.read)
	return tags, wrap("find tags", err)
}

// ChangeTags implements isolde.ResourceStore.
func (s *Store) ChangeTags(ctx context.Context, r isolde.Resource, set map[string]string, remove []string) error {
	p := placeOf(r)
	return wrap("change tags", s.tx(ctx, func(tx *sql.Tx) error {
		tags, err := p.tags(ctx, tx)
		if err != nil {
			return err
		}
		maps.Copy(tags, set)
		for _, key := range remove {
			delete(tags, key)
		}
		if len(tags) > isolde.MaxTags {
			return isolde.Errorf(isolde.CodeQuota, "the resource would have %d tags; at most %d are allowed", len(tags), isolde.MaxTags).
				WithHint("remove some first")
		}
		text, err := encodeTags(tags)
		if err != nil {
			return err
		}
		return p.set(ctx, tx, "tags", text)
	}))
}

// Policy implements isolde.ResourceStore.
func (s *Store) Policy(ctx context.Context, r isolde.Resource) (string, error) {
	document, err := placeOf(r).get(ctx, s.read, "policy")
	return document, wrap("find policy", err)
}

// SetPolicy implements isolde.ResourceStore.
func (s *Store) SetPolicy(ctx context.Context, r isolde.Resource, document string) error {
	return wrap("set policy", s.tx(ctx, func(tx *sql.Tx) error {
		return placeOf(r).set(ctx, tx, "policy", document)
	}))
}
