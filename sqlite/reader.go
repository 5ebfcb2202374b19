package sqlite

import (
	"context"
	"database/sql"
	"sync"
)

// reader reads with several connections at once. It prepares each query once
// for each of them, since to plan a query takes longer than to run it. There
// are as many queries as the code has.
type reader struct {
	db       *sql.DB
	prepared sync.Map // query → *sql.Stmt
}

// statement is the prepared form of a query.
func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := r.prepared.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, ok := r.prepared.LoadOrStore(query, s); ok {
		s.Close()
		return first.(*sql.Stmt), nil
	}
	return s, nil
}

// QueryContext implements querier.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext implements querier.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := r.statement(ctx, query)
	if err != nil {
		return r.db.QueryRowContext(ctx, query, args...) // meets the error again
	}
	return s.QueryRowContext(ctx, args...)
}

// snapshot reads as of one moment.
type snapshot struct {
	*sql.Tx
	reader *reader
}

// snapshot begins one; the caller rolls it back. Its queries are named here to
// be prepared before it holds a connection: many that hold one and wait for
// another would wait forever.
func (r *reader) snapshot(ctx context.Context, queries ...string) (snapshot, error) {
	for _, query := range queries {
		if _, err := r.statement(ctx, query); err != nil {
			return snapshot{}, err
		}
	}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	return snapshot{tx, r}, err
}

// QueryContext implements querier.
func (s snapshot) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if st, ok := s.reader.prepared.Load(query); ok {
		return s.StmtContext(ctx, st.(*sql.Stmt)).QueryContext(ctx, args...)
	}
	return s.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext implements querier.
func (s snapshot) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if st, ok := s.reader.prepared.Load(query); ok {
		return s.StmtContext(ctx, st.(*sql.Stmt)).QueryRowContext(ctx, args...)
	}
	return s.Tx.QueryRowContext(ctx, query, args...)
}
