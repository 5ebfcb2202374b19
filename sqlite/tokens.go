package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/isolde-run/isolde"
)

// keepTokens is how long a client token makes its request idempotent.
const keepTokens = 24 * time.Hour

// Repeated implements isolde.RuntimeStore.
func (s *Store) Repeated(ctx context.Context, once isolde.Once) (*isolde.Change, error) {
	if once.Token == "" {
		return nil, nil
	}
	var digest string
	var result []byte
	err := s.read.QueryRowContext(ctx, `SELECT digest, result FROM tokens WHERE operation = ? AND token = ? AND created_at >= ?`,
		once.Operation, once.Token, tokensSince()).Scan(&digest, &result)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("find client token", err)
	}
	if digest != once.Digest {
		return nil, isolde.Errorf(isolde.CodeMismatch, "client token %q was used for another %s request", once.Token, once.Operation).
			WithHint("use a new token for each request, or none")
	}
	var c isolde.Change
	if err := json.Unmarshal(result, &c); err != nil {
		return nil, fmt.Errorf("decode result of client token: %w", err)
	}
	return &c, nil
}

// change runs f in a write transaction and keeps once's token with what f
// returns: the rows as they are stored, so that a repetition reads the same.
func (s *Store) change(ctx context.Context, op string, once isolde.Once, f func(*sql.Tx) (isolde.Change, error)) (isolde.Change, error) {
	var c isolde.Change
	err := s.tx(ctx, func(tx *sql.Tx) (err error) {
		if c, err = f(tx); err != nil {
			return err
		}
		return keepToken(ctx, tx, once, c)
	})
	if err != nil {
		return isolde.Change{}, wrap(op, err)
	}
	return c, nil
}

func keepToken(ctx context.Context, tx *sql.Tx, once isolde.Once, c isolde.Change) error {
	if once.Token == "" {
		return nil
	}
	result, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode result of client token: %w", err)
	}
	if err := forgetOldTokens(ctx, tx); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO tokens (operation, token, digest, result, created_at) VALUES (?, ?, ?, ?, ?)`,
		once.Operation, once.Token, once.Digest, string(result), micros(time.Now()))
	if isUnique(err) {
		return isolde.Errorf(isolde.CodeConflict, "client token %q was used by another %s request just now", once.Token, once.Operation).
			WithHint("repeat the request")
	}
	return err
}

func forgetOldTokens(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM tokens WHERE created_at < ?`, tokensSince())
	return err
}

func tokensSince() int64 { return micros(time.Now().Add(-keepTokens)) }
