// Package sqlite is the isolde.Store of one machine: a SQLite database in WAL
// mode with one writer.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/isolde-run/isolde"
)

// keepEnded is how long the record of an ended session is kept, by the rule
// that AgentCore drops session storage after 14 days.
const keepEnded = 14 * 24 * time.Hour

// Store implements isolde.Store.
type Store struct {
	read  *sql.DB
	write *sql.DB // one connection: SQLite has one writer, and a queue beats SQLITE_BUSY
}

var _ isolde.Store = (*Store)(nil)

// Open opens or creates the database file and brings its schema up to date.
// A database of a newer Isolde is refused with CodeConflict.
func Open(ctx context.Context, path string) (*Store, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=journal_mode(wal)&_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)&_pragma=synchronous(full)&_txlock=immediate"
	write, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	write.SetMaxOpenConns(1)
	s := &Store{write: write}
	if err := s.migrate(ctx, path); err != nil {
		s.Close()
		return nil, err
	}
	if s.read, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		s.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	s.read.SetMaxOpenConns(8)
	if err := s.forgetOldSessions(ctx); err != nil {
		s.Close()
		return nil, wrap("forget old sessions", err)
	}
	return s, nil
}

func (s *Store) forgetOldSessions(ctx context.Context) error {
	_, err := s.write.ExecContext(ctx, `DELETE FROM sessions WHERE ended_at < ?`, micros(time.Now().Add(-keepEnded)))
	return err
}

// Close closes the database.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *Store) migrate(ctx context.Context, path string) error {
	var at int
	if err := s.write.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&at); err != nil {
		return wrap("open database "+path, err)
	}
	if at > len(migrations) {
		return isolde.Errorf(isolde.CodeConflict, "the database %s is of a newer Isolde (schema %d; this one knows %d)", path, at, len(migrations)).
			WithHint("run that version, or name another data directory with --data-dir")
	}
	for ; at < len(migrations); at++ {
		err := s.tx(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, migrations[at]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, at+1))
			return err
		})
		if err != nil {
			return wrap(fmt.Sprintf("migrate database to schema %d", at+1), err)
		}
	}
	return nil
}

// tx runs f in a write transaction; f's error rolls it back.
func (s *Store) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// wrap turns a driver's error into what a caller can act on.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if se, ok := errors.AsType[*sqlite.Error](err); ok {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return isolde.Errorf(isolde.CodeInternal, "%s: the file is no database or is damaged", op).
				WithHint("restore it from a copy, or name another data directory with --data-dir").WithCause(err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return isolde.Errorf(isolde.CodeInternal, "%s: the disk of the data directory is full or failing", op).WithCause(err)
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

func isUnique(err error) bool {
	se, ok := errors.AsType[*sqlite.Error](err)
	return ok && (se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

func isForeignKey(err error) bool {
	se, ok := errors.AsType[*sqlite.Error](err)
	return ok && se.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

func micros(t time.Time) int64     { return t.UnixMicro() }
func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }
