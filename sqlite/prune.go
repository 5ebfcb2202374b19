package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/isolde-run/isolde"
)

// Prune implements isolde.RuntimeStore. What it looks for takes long where
// there is much, and changes shall not wait for it: it looks at a snapshot,
// and removes what it found and nothing names by then.
func (s *Store) Prune(ctx context.Context, keep int, used []isolde.VersionRef) (images []string, err error) {
	inUse, err := json.Marshal(append([]isolde.VersionRef{}, used...)) // never null
	if err != nil {
		return nil, fmt.Errorf("encode versions in use: %w", err)
	}
	found, err := list(ctx, s.read, scanVersionRef, prunable, keep, string(inUse))
	if err != nil {
		return nil, wrap("find old versions", err)
	}
	if len(found) > 0 {
		if err := s.removeVersions(ctx, found); err != nil {
			return nil, wrap("remove old versions", err)
		}
	}
	if images, err = list(ctx, s.read, scanText, `SELECT image FROM versions WHERE image <> ''`); err != nil {
		return nil, wrap("list images", err)
	}
	slices.Sort(images) // a tenth of what DISTINCT costs
	return slices.Compact(images), nil
}

// prunable finds, of each runtime, the versions from the ?1-th newest on that
// nothing names, ?2 neither. Versions are counted: their numbers may have
// gaps. CROSS JOIN keeps SQLite from looking for the ?1-th anew for every one.
const prunable = `
SELECT v.runtime_id, v.number
FROM runtimes AS r CROSS JOIN versions AS v ON v.runtime_id = r.id AND v.number <= (
	SELECT number FROM versions WHERE runtime_id = r.id ORDER BY number DESC LIMIT 1 OFFSET ?1)
WHERE ` + unnamed + `
AND (v.runtime_id, v.number) NOT IN (SELECT value ->> 'runtime', value ->> 'number' FROM json_each(?2))`

// unnamed is true for a version v that is final and that no endpoint names.
const unnamed = `v.status NOT IN ` + unfinished + `
AND NOT EXISTS (SELECT 1 FROM endpoints AS e WHERE e.runtime_id = v.runtime_id AND v.number IN (e.version, e.target))`

// removeVersions removes those of the versions that are still unnamed.
func (s *Store) removeVersions(ctx context.Context, all []isolde.VersionRef) error {
	refs, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode old versions: %w", err)
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM versions AS v
			WHERE (runtime_id, number) IN (SELECT value ->> 'runtime', value ->> 'number' FROM json_each(?)) AND `+unnamed, string(refs))
		return err
	})
}

func scanVersionRef(row scanner) (r isolde.VersionRef, err error) {
	err = row.Scan(&r.Runtime, &r.Number)
	return r, err
}
