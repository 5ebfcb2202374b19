package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// update rewrites what is generated, instead of checking it.
var update = flag.Bool("update", false, "rewrite goldens and docs/CLI.md")

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"isolde": func() {
			os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
		},
	})
}

// leakChecked runs the tests and then looks for goroutines that are left.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the real command against a server that plays canned
// answers; see fakeServer.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s := newFakeServer()
			e.Defer(s.Close)
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("ISOLDE_SERVER", s.URL)
			e.Setenv("GORACE", "atexit_sleep_ms=0")    // else each command takes a second with -race
			e.Setenv("NOSERVER", "http://127.0.0.1:1") // a port nobody may listen on but root's tcpmux
			return os.MkdirAll(home, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, neg bool, args []string) { exits(ts, args) },
		},
	})
}

// exits runs "exits CODE isolde ARGS…" and checks the exit code. CODE may be
// several, as in 0,9, where the machine decides.
func exits(ts *testscript.TestScript, args []string) {
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if !slices.Contains(strings.Split(args[0], ","), strconv.Itoa(got)) {
		ts.Fatalf("exit code is %d, not %s", got, args[0])
	}
}
