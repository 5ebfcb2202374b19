package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/isolde-run/isolde"
)

// records are the records of sessions on their way to the disk. A transaction
// costs as much for one as for many, and sessions begin, go idle and are found
// again in crowds: whoever is first writes what all have brought by then.
type records struct {
	turn chan struct{} // holds a token while somebody writes

	mu      sync.Mutex
	waiting []*record
}

// maxRecords bounds one transaction.
const maxRecords = 1000

type record struct {
	session isolde.Session
	json    string
	written chan error // takes how it went
}

// PutSession implements isolde.SessionStore. If ctx ends first the record may
// be written still.
func (s *Store) PutSession(ctx context.Context, r isolde.Session) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	if ctx.Err() != nil {
		return wrap("put session", ctx.Err())
	}
	mine := &record{session: r, json: string(text), written: make(chan error, 1)}
	s.records.mu.Lock()
	s.records.waiting = append(s.records.waiting, mine)
	s.records.mu.Unlock()
	for {
		select {
		case err := <-mine.written:
			return wrap("put session", err)
		case <-ctx.Done():
			return wrap("put session", ctx.Err())
		case s.records.turn <- struct{}{}:
			s.putRecords(context.WithoutCancel(ctx)) // others' are among them
			<-s.records.turn
		}
	}
}

// putRecords writes those that wait, oldest first.
func (s *Store) putRecords(ctx context.Context) {
	s.records.mu.Lock()
	batch := s.records.waiting
	if len(batch) > maxRecords {
		batch = batch[:maxRecords:maxRecords]
	}
	s.records.waiting = s.records.waiting[len(batch):]
	s.records.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	errs := make([]error, len(batch))
	err := s.tx(ctx, func(tx *sql.Tx) error {
		for i, r := range batch {
			// A statement that fails is undone alone.
			if errs[i] = s.putRecord(ctx, tx, r); errs[i] != nil && isolde.CodeOf(errs[i]) != isolde.CodeNotFound {
				return errs[i]
			}
		}
		return nil
	})
	for i, r := range batch {
		if err != nil {
			errs[i] = err
		}
		r.written <- errs[i]
	}
}

func (s *Store) putRecord(ctx context.Context, tx *sql.Tx, r *record) error {
	ended := sql.NullInt64{Int64: micros(r.session.EndedAt), Valid: !r.session.EndedAt.IsZero()}
	_, err := tx.ExecContext(ctx, `INSERT INTO sessions (runtime_id, id, ended_at, started_at, record) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET ended_at = excluded.ended_at, started_at = excluded.started_at, record = excluded.record`,
		r.session.Runtime, r.session.ID, ended, micros(r.session.StartedAt), r.json)
	if isForeignKey(err) {
		return noRuntime(r.session.Runtime)
	}
	if err != nil || !ended.Valid {
		return err
	}
	if s.ends.Add(1)%countEvery == 0 {
		err = forgetMoreThan(ctx, tx, maxEnded)
	}
	return errors.Join(err, forgetOldSessions(ctx, tx))
}
