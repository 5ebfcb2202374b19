// Package sqlite is the isolde.Store of one machine: a SQLite database in WAL
// mode with one writer.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/isolde-run/isolde"
)

// readers is how many connections read at once.
const readers = 8

// Store implements isolde.Store.
type Store struct {
	path  string
	read  *reader
	write *sql.DB      // one connection: SQLite has one writer, and a queue beats SQLITE_BUSY
	ends  atomic.Int64 // of sessions, since it was opened

	records records
}

var _ isolde.Store = (*Store)(nil)

// Open opens or creates the database file and brings its schema up to date.
// A database of a newer Isolde is refused with CodeConflict.
func Open(ctx context.Context, path string) (*Store, error) {
	write, err := sql.Open("sqlite", source(path))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	write.SetMaxOpenConns(1)
	s := &Store{path: path, write: write, records: records{turn: make(chan struct{}, 1)}}
	if err := s.migrate(ctx, path, migrations); err != nil {
		s.Close()
		return nil, err
	}
	read, err := sql.Open("sqlite", source(path)+"&_pragma=query_only(1)")
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	s.read = &reader{db: read}
	if err := s.tx(ctx, func(tx *sql.Tx) error {
		return errors.Join(forgetOldSessions(ctx, tx), forgetMoreThan(ctx, tx, maxEnded), forgetOldTokens(ctx, tx))
	}); err != nil {
		s.Close()
		return nil, wrap("forget what is old", err)
	}
	return s, nil
}

// source is the driver's name of a database and of the settings of each
// connection to it.
func source(path string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=foreign_keys(1)&_pragma=synchronous(full)" +
		"&_pragma=journal_size_limit(67108864)&_txlock=immediate"
}

// Close closes the database.
func (s *Store) Close() error {
	var err error
	if s.read != nil {
		err = s.read.db.Close()
	}
	return errors.Join(err, s.write.Close())
}

// tx runs f in a write transaction; f's error rolls it back. Every change
// goes through it: a statement outside of one can be durable and yet report
// that ctx ended.
func (s *Store) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if err = f(tx); err == nil {
		err = tx.Commit()
	}
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = ctx.Err() // it ended between two statements
	}
	return err
}

// querier is a database or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

// list reads all rows of a query.
func list[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// one reads the one row of a query, or the error that missing makes if there
// is none.
func one[T any](ctx context.Context, q querier, scan func(scanner) (T, error), missing func() error, query string, args ...any) (T, error) {
	v, err := scan(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = missing()
	}
	return v, err
}

// exec runs a statement that changes rows, and fails with missing's error if
// it changed none.
func exec(ctx context.Context, tx *sql.Tx, missing func() error, query string, args ...any) error {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return missing()
	}
	return nil
}

// wrap turns a driver's error into what a caller can act on.
func wrap(op string, err error) error {
	if _, ok := errors.AsType[*isolde.Error](err); ok || err == nil {
		return err
	}
	if se, ok := errors.AsType[*sqlite.Error](err); ok {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return isolde.Errorf(isolde.CodeInternal, "%s: the file is no database or is damaged", op).
				WithHint("restore it from a copy, or name another data directory with --data-dir").WithCause(err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR: // a full disk is either
			return diskFull(op, err)
		case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			return isolde.Errorf(isolde.CodeInternal, "%s: the file cannot be opened or written", op).
				WithHint("check that the folder is there and whose it is").WithCause(err)
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return diskFull(op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

func diskFull(op string, err error) error {
	return isolde.Errorf(isolde.CodeInternal, "%s: the disk is full or failing", op).
		WithHint("nothing was changed; free space and repeat it").WithCause(err)
}

func isUnique(err error) bool {
	se, ok := errors.AsType[*sqlite.Error](err)
	return ok && (se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

func isForeignKey(err error) bool {
	se, ok := errors.AsType[*sqlite.Error](err)
	return ok && se.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// orAll turns the interface's 0 into SQLite's "no limit".
func orAll(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}

func micros(t time.Time) int64     { return t.UnixMicro() }
func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }
