//go:build linux

package bench

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sqlite"
)

// What the measured database holds.
const (
	controlRuntimes = 10_000
	controlVersions = 20 // of each runtime
)

// BenchmarkControl measures what the control plane keeps, in a database of
// 10,000 agent runtimes with 20 versions and two endpoints each: reads, each
// of another runtime, against the least that database/sql does on the same
// file; changes, each with a client token, against a bare INSERT that is as
// durable; the removal of old versions against a bare DELETE of as many rows.
func BenchmarkControl(b *testing.B) {
	path := populate(b)
	b.Run("read", func(b *testing.B) { benchmarkReads(b, path) })
	b.Run("resolve", func(b *testing.B) { benchmarkResolve(b, path) })
	b.Run("prune", func(b *testing.B) { benchmarkPrune(b, path) })
	b.Run("write", func(b *testing.B) { benchmarkWrites(b, path) }) // last: it changes the database
}

// operation is one side of a comparison.
type operation struct {
	name string
	over string // the side it is compared with
	run  func(i int) error
	series
}

// measure measures the operations in rounds, each many times in a row.
func measure(b *testing.B, many int, limit time.Duration, unit time.Duration, ops []*operation) {
	n := 0
	u := newBudget(limit)
	for b.Loop() {
		if !u.round() {
			continue
		}
		inTurn(u.rounds, len(ops), func(side int) {
			var took samples
			for range many {
				n++
				start := time.Now()
				if err := ops[side].run(n); err != nil {
					b.Fatalf("%s: %v", ops[side].name, err)
				}
				took.add(time.Since(start))
			}
			ops[side].round(took)
		})
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	sides := make(map[string]*operation)
	for _, o := range ops {
		sides[o.name] = o
		o.times(b, o.name, unit)
	}
	for _, o := range ops {
		if o.over != "" {
			b.ReportMetric(o.series.over(&sides[o.over].series), o.name+"/"+o.over)
		}
	}
}

func benchmarkReads(b *testing.B, path string) {
	ctx := b.Context()
	s, bare := openStore(b, path), openBare(b, path)
	row, err := bare.Prepare(`SELECT status FROM runtimes WHERE id = ?`)
	if err != nil {
		b.Fatal(err)
	}
	list := func(after string) error {
		page, err := s.Runtimes(ctx, after, 100)
		if err == nil && len(page) != 100 {
			err = fmt.Errorf("a page of %d", len(page))
		}
		return err
	}
	measure(b, 200, 20*time.Second, time.Microsecond, []*operation{
		{name: "select-1", run: func(int) (err error) {
			var n int
			return bare.QueryRowContext(ctx, `SELECT 1`).Scan(&n)
		}},
		{name: "row", run: func(i int) error {
			var status string
			return row.QueryRowContext(ctx, controlID(i)).Scan(&status)
		}},
		{name: "get", over: "row", run: func(i int) error {
			r, err := s.Runtime(ctx, string(controlID(i)))
			if err == nil {
				_, err = s.Version(ctx, r.ID, r.Latest)
			}
			return err
		}},
		{name: "list-first", over: "row", run: func(int) error { return list("") }},
		{name: "list-middle", over: "row", run: func(i int) error { return list(fmt.Sprintf("agent%05d", 2000+i%6000)) }},
		{name: "serving", over: "row", run: func(i int) error {
			_, es, vs, err := s.Serving(ctx, string(controlID(i)))
			if err == nil && (len(es) != 2 || len(vs) != 2) {
				err = fmt.Errorf("%d endpoints, %d versions", len(es), len(vs))
			}
			return err
		}},
	})
}

func benchmarkWrites(b *testing.B, path string) {
	ctx := b.Context()
	s, bare := openStore(b, path), openBare(b, filepath.Join(filepath.Dir(path), "bare.db"))
	if _, err := bare.Exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT) STRICT`); err != nil {
		b.Fatal(err)
	}
	insert, err := bare.Prepare(`INSERT INTO t (text) VALUES (?)`)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("x", 1000)
	var made atomic.Int64
	once := func(operation string) isolde.Once {
		return isolde.Once{Operation: operation, Token: fmt.Sprintf("%064d", made.Add(1)), Digest: fmt.Sprintf("%064x", made.Load())}
	}
	measure(b, 20, 25*time.Second, time.Microsecond, []*operation{
		{name: "insert", run: func(int) error {
			_, err := insert.ExecContext(ctx, text)
			return err
		}},
		{name: "create", over: "insert", run: func(int) error {
			r, v := controlRuntime(fmt.Sprintf("new%d", made.Load()))
			_, err := s.CreateRuntime(ctx, once("create"), r, v, map[string]string{"team": "orders"})
			return err
		}},
		{name: "add-version", over: "insert", run: func(i int) error {
			_, v := controlRuntime(controlName(i))
			_, err := s.AddVersion(ctx, once("update"), v)
			return err
		}},
		{name: "put-endpoint", over: "insert", run: func(i int) error {
			_, err := s.PutEndpoint(ctx, once("endpoint"), isolde.Endpoint{
				Runtime: controlID(i), Name: "prod", Version: 10, Target: 11, Status: isolde.StatusUpdating, UpdatedAt: time.Now(),
			})
			return err
		}},
	})
}

func benchmarkPrune(b *testing.B, path string) {
	ctx := b.Context()
	s := openStore(b, path)
	dir := tempDir(b)
	pruned, err := openCopy(ctx, s, filepath.Join(dir, "pruned.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { pruned.Close() }()
	if _, err := pruned.Prune(ctx, controlVersions/2, nil); err != nil {
		b.Fatal(err)
	}
	bare := openBare(b, filepath.Join(dir, "pruned.db"))
	var backup, all, remove, none, scan series
	u := newBudget(40 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		for i, f := range []func(s *sqlite.Store, db *sql.DB) error{
			func(s *sqlite.Store, _ *sql.DB) error { _, err := s.Prune(ctx, controlVersions/2, nil); return err },
			func(_ *sqlite.Store, db *sql.DB) error { // but for what prod names, the same rows
				_, err := db.ExecContext(ctx, `DELETE FROM versions WHERE number < ?`, controlVersions/2)
				return err
			},
		} {
			copied := filepath.Join(dir, fmt.Sprintf("copy%d-%d.db", u.rounds, i))
			start := time.Now()
			c, err := openCopy(ctx, s, copied)
			if err != nil {
				b.Fatal(err)
			}
			backup.round(samples{float64(time.Since(start))})
			db := openBare(b, copied)
			start = time.Now()
			if err := f(c, db); err != nil {
				b.Fatal(err)
			}
			[]*series{&all, &remove}[i].round(samples{float64(time.Since(start))})
			c.Close()
			db.Close()
			for _, suffix := range []string{"", "-wal", "-shm"} {
				os.Remove(copied + suffix)
			}
		}
		for range 5 {
			start := time.Now()
			images, err := pruned.Prune(ctx, controlVersions/2, nil)
			if err != nil {
				b.Fatal(err)
			}
			none.round(samples{float64(time.Since(start))})
			start = time.Now()
			if n, err := count(ctx, bare, `SELECT image FROM versions`); err != nil || n != len(images) {
				b.Fatalf("%d images, %d rows: %v", len(images), n, err)
			}
			scan.round(samples{float64(time.Since(start))})
		}
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	backup.times(b, "backup", time.Millisecond)
	all.times(b, "prune", time.Millisecond)
	remove.times(b, "delete", time.Millisecond)
	none.times(b, "prune-nothing", time.Millisecond)
	scan.times(b, "scan", time.Millisecond)
	b.ReportMetric(all.over(&remove), "prune/delete")
	b.ReportMetric(none.over(&scan), "prune-nothing/scan")
}

func openCopy(ctx context.Context, s *sqlite.Store, path string) (*sqlite.Store, error) {
	if err := s.Backup(ctx, path); err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, path)
}

// count reads all rows of a query that has one column of text.
func count(ctx context.Context, db *sql.DB, query string) (n int, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var text string
		if err := rows.Scan(&text); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}

func controlName(i int) string {
	return fmt.Sprintf("agent%05d", i*7919%controlRuntimes) // 7919 and 10,000 have no common factor: all are met
}

func controlID(i int) isolde.RuntimeID { return isolde.RuntimeID(controlName(i) + "-0123456789") }

// controlRuntime is an agent runtime as people have them, and a version of it.
func controlRuntime(name string) (isolde.AgentRuntime, isolde.Version) {
	now := time.Now()
	id := isolde.RuntimeID(name + "-0123456789")
	env := make(map[string]string)
	for i := range 10 {
		env[fmt.Sprintf("SETTING_%d", i)] = strings.Repeat("v", 40)
	}
	spec := isolde.VersionSpec{
		Description: "Answers questions about orders.",
		Environment: env,
		Role:        "arn:aws:iam::123456789012:role/agent",
		Artifact: &isolde.Artifact{Code: &isolde.CodeArtifact{
			Code:       isolde.CodeLocation{S3: &isolde.S3Location{Bucket: "agents", Key: "orders/code.zip"}},
			Runtime:    isolde.RuntimePython313,
			Entrypoint: []string{"opentelemetry-instrument", "agent.py"},
		}},
	}
	r := isolde.AgentRuntime{ID: id, Name: name, Status: isolde.StatusReady, CreatedAt: now, UpdatedAt: now}
	return r, isolde.Version{
		Runtime: id, Spec: spec, Image: fmt.Sprintf("sha256:%064x", now.UnixNano()), Status: isolde.StatusReady, CreatedAt: now, UpdatedAt: now,
	}
}

// populate makes the database: one agent runtime as the store makes it, and
// by SQL the others like it. Every version has an image of its own.
func populate(b *testing.B) (path string) {
	b.Helper()
	start := time.Now()
	path = filepath.Join(tempDir(b), "isolde.db")
	s := openStore(b, path)
	r, v := controlRuntime("model")
	if _, err := s.CreateRuntime(b.Context(), isolde.Once{}, r, v, nil); err != nil {
		b.Fatal(err)
	}
	db := openBare(b, path)
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	const numbers = `WITH RECURSIVE numbers (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?1) `
	for _, statement := range []struct {
		query string
		args  []any
	}{
		{numbers + `INSERT INTO runtimes (id, name, status, failure_reason, latest, description, created_at, updated_at)
			SELECT printf('agent%05d-0123456789', n), printf('agent%05d', n), status, failure_reason, ?2, description, created_at, updated_at
			FROM numbers, runtimes WHERE name = 'model'`, []any{controlRuntimes, controlVersions}},
		{numbers + `INSERT INTO versions (runtime_id, number, spec, image, status, failure_reason, created_at, updated_at)
			SELECT r.id, n + 1, spec, 'sha256:' || lower(hex(randomblob(32))), v.status, v.failure_reason, v.created_at, v.updated_at
			FROM runtimes AS r, numbers, versions AS v WHERE r.name <> 'model' AND v.runtime_id = ?2 ORDER BY r.id, n`, []any{controlVersions, r.ID}},
		{`INSERT INTO endpoints (runtime_id, name, version, target, status, failure_reason, description, created_at, updated_at)
			SELECT r.id, e.name, e.version, e.version, status, failure_reason, '', created_at, updated_at
			FROM runtimes AS r, (SELECT 'DEFAULT' AS name, ?1 AS version UNION SELECT 'prod', ?1 / 2) AS e WHERE r.name <> 'model' ORDER BY 1, 2`, []any{controlVersions}},
	} {
		if _, err := tx.Exec(statement.query, statement.args...); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	if err := s.DeleteRuntime(b.Context(), r.ID); err != nil {
		b.Fatal(err)
	}
	db.Close()
	s.Close()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d agent runtimes with %d versions each: %d MB, made in %v",
		controlRuntimes, controlVersions, info.Size()/1e6, time.Since(start).Round(time.Millisecond))
	return path
}

func openStore(b *testing.B, path string) *sqlite.Store {
	b.Helper()
	s, err := sqlite.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// openBare opens a database with the store's settings and nothing else.
func openBare(b *testing.B, path string) *sql.DB {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	b.Cleanup(func() { db.Close() })
	return db
}
