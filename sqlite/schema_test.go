package sqlite

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// makeFirst makes a database of schema 1 as the first Isolde left it.
func makeFirst(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", source(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		migrations[0],
		`PRAGMA user_version = 1`,
		`INSERT INTO runtimes VALUES ('alpha-0123456789', 'alpha', 'READY', 2, 1000001, 2000002), ('beta-0123456789', 'beta', 'READY', 1, 3, 4)`,
		`INSERT INTO versions VALUES
			('alpha-0123456789', 1, '{"entrypoint":["agent.py"],"environment":{"A":"b"}}', 'sha256:1', 'READY', '', 1000001),
			('alpha-0123456789', 2, '{"description":"of two","lifecycle":{"maxLifetime":60}}', 'sha256:2', 'READY', '', 2000002),
			('beta-0123456789', 1, '{}', 'sha256:1', 'READY', '', 3)`,
		`INSERT INTO endpoints VALUES ('alpha-0123456789', 'DEFAULT', 2, 'READY', 1000001, 2000002), ('beta-0123456789', 'DEFAULT', 1, 'READY', 3, 4)`,
		`INSERT INTO sessions VALUES ('alpha-0123456789', 's', NULL, 5, '{"agentRuntimeId":"alpha-0123456789","runtimeSessionId":"s"}')`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatabaseOfTheFirstSchemaKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeFirst(t, path)
	s := open(t, path)

	all, err := s.Runtimes(t.Context(), "", 0)
	wantRuntimes := []isolde.AgentRuntime{
		{
			ID: "alpha-0123456789", Name: "alpha", Status: isolde.StatusReady, Latest: 2, Description: "of two",
			CreatedAt: fromMicros(1000001), UpdatedAt: fromMicros(2000002),
		},
		{ID: "beta-0123456789", Name: "beta", Status: isolde.StatusReady, Latest: 1, CreatedAt: fromMicros(3), UpdatedAt: fromMicros(4)},
	}
	if diff := cmp.Diff(wantRuntimes, all); err != nil || diff != "" {
		t.Errorf("runtimes: %v (-want +got):\n%s", err, diff)
	}
	_, es, _, err := s.Serving(t.Context(), "alpha")
	wantEndpoints := []isolde.Endpoint{{
		Runtime: "alpha-0123456789", Name: "DEFAULT", Version: 2, Target: 2, Status: isolde.StatusReady,
		CreatedAt: fromMicros(1000001), UpdatedAt: fromMicros(2000002),
	}}
	if diff := cmp.Diff(wantEndpoints, es); err != nil || diff != "" {
		t.Errorf("endpoints: %v (-want +got):\n%s", err, diff)
	}
	vs, err := s.Versions(t.Context(), "alpha-0123456789", 0, 0)
	wantVersions := []isolde.Version{
		{
			Runtime: "alpha-0123456789", Number: 2, Image: "sha256:2", Status: isolde.StatusReady,
			Spec:      isolde.VersionSpec{Description: "of two", Lifecycle: isolde.Lifecycle{MaxLifetime: 60}},
			CreatedAt: fromMicros(2000002), UpdatedAt: fromMicros(2000002),
		},
		{
			Runtime: "alpha-0123456789", Number: 1, Image: "sha256:1", Status: isolde.StatusReady,
			Spec:      isolde.VersionSpec{Entrypoint: []string{"agent.py"}, Environment: map[string]string{"A": "b"}},
			CreatedAt: fromMicros(1000001), UpdatedAt: fromMicros(1000001),
		},
	}
	if diff := cmp.Diff(wantVersions, vs); err != nil || diff != "" {
		t.Errorf("versions: %v (-want +got):\n%s", err, diff)
	}
	sessions, err := s.Sessions(t.Context(), "", true, 0)
	if err != nil || len(sessions) != 1 || sessions[0].ID != "s" {
		t.Errorf("sessions = %+v, %v", sessions, err)
	}
	for _, resource := range []isolde.Resource{{Runtime: "alpha-0123456789"}, {Runtime: "alpha-0123456789", Endpoint: "DEFAULT"}} {
		tags, err1 := s.Tags(t.Context(), resource)
		policy, err2 := s.Policy(t.Context(), resource)
		if len(tags) != 0 || policy != "" || err1 != nil || err2 != nil {
			t.Errorf("%v has tags %v and policy %q: %v, %v", resource, tags, policy, err1, err2)
		}
	}
	if got := add(t, s, vs[0], isolde.StatusReady, 1); got.Number != 3 {
		t.Errorf("next version = %d", got.Number)
	}
}

func TestMigrationThatFailsLeavesTheOldSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	create(t, s, "alpha")
	schema := func() []string {
		t.Helper()
		all, err := list(t.Context(), s.write, scanText, `SELECT name || coalesce(sql, '') FROM sqlite_schema ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before, rows := schema(), dump(t, s)
	bad := append(slices.Clone(migrations), `
		CREATE TABLE another (a TEXT);
		DELETE FROM runtimes;
		ALTER TABLE versions DROP COLUMN image;
		INSERT INTO nowhere VALUES (1);`)
	if err := s.migrate(t.Context(), path, bad); err == nil || !strings.Contains(err.Error(), "schema 3") {
		t.Errorf("migrate = %v", err)
	}
	if diff := cmp.Diff(before, schema()); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
	s.Close()
	s = open(t, path)
	if diff := cmp.Diff(rows, dump(t, s)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestDatabaseOfANewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	if _, err := s.write.Exec(`PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), path); isolde.CodeOf(err) != isolde.CodeConflict || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("open = %v", err)
	}
}

// TestUnfinishedIsWhatIsNotFinal compares the words of SQL with the code's.
func TestUnfinishedIsWhatIsNotFinal(t *testing.T) {
	for _, s := range []isolde.Status{
		isolde.StatusCreating, isolde.StatusCreateFailed, isolde.StatusUpdating, isolde.StatusUpdateFailed,
		isolde.StatusReady, isolde.StatusDeleting, isolde.StatusDeleteFailed,
	} {
		if strings.Contains(unfinished, "'"+string(s)+"'") == s.Final() {
			t.Errorf("%s is final: %v; unfinished are %s", s, s.Final(), unfinished)
		}
	}
}
