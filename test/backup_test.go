package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/operator"
)

// TestBackupIsRestored copies a server that takes calls and deployments
// meanwhile, and runs another on the copy, for which nothing of the first is
// there.
func TestBackupIsRestored(t *testing.T) {
	need.Command(t, "tar")
	forEachDriver(t, func(t *testing.T, b *bed) {
		b.ownImages()
		b.mustIsolde("deploy", "agents/echo", "--env", "NUMBER=one")
		b.mustIsolde("endpoint", "set", "echo", "prod", "--version", "1")
		b.mustIsolde("deploy", "agents/echo", "--env", "NUMBER=two")
		var agent struct {
			ARN string `json:"agentRuntimeArn"`
		}
		if err := json.Unmarshal([]byte(b.mustIsolde("agent", "get", "echo", "-o", "json")), &agent); err != nil {
			t.Fatal(err)
		}
		b.echo(agent.ARN, sessionNumber(1), `{}`)
		b.uploadAgent("builds", "agent.zip")
		b.mustIsolde(deployZip("zipped")...)

		file := filepath.Join(t.TempDir(), "backup.tar")
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := range 5 {
				if r := b.echo(agent.ARN, sessionNumber(1), `{}`); r.Count != n+2 {
					t.Errorf("call %d during the backup is the session's call %d", n, r.Count)
				}
			}
		})
		wg.Go(func() { b.mustIsolde("deploy", "agents/echo", "--name", "meanwhile", "--env", "NUMBER=three") })
		b.mustIsolde("backup", file)
		wg.Wait()
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup is %v, %v", info, err)
		}
		if _, errs, exit := b.isolde("backup", file); exit != isolde.CodeConflict.ExitCode() {
			t.Errorf("a second backup to the file: exit code %d\n%s", exit, errs)
		}

		restored := t.TempDir()
		if out, err := exec.Command("tar", "xf", file, "-C", restored).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		away := filepath.Join(b.data, "images-away")
		if err := os.Rename(filepath.Join(b.data, "images"), away); err != nil {
			t.Fatal(err)
		}
		copied, end := b.another(restored)
		defer end()
		copied.checkRestored(agent.ARN)
		if err := os.Rename(away, filepath.Join(b.data, "images")); err != nil {
			t.Fatal(err)
		}
	})
}

func deployZip(name string) []string {
	return []string{"deploy", "--zip", "s3://builds/agent.zip", "--runtime", "PYTHON_3_11", "--entrypoint", "agent.py", "--name", name}
}

// ownImages gives a server images of its own in the place of those it shares
// with others.
func (b *bed) ownImages() {
	b.t.Helper()
	b.stop(syscall.SIGTERM)
	dir := filepath.Join(b.data, "images")
	if err := os.Remove(dir); err != nil { // the link
		b.t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.start()
}

// another is a second server, on another data directory. end ends it with its
// sessions, and checks that nothing is left.
func (b *bed) another(data string) (other *bed, end func()) {
	b.t.Helper()
	other = &bed{t: b.t, driver: b.driver, data: data, flags: b.flags}
	left := watch(b.t, data)
	other.start()
	return other, func() {
		if _, err := other.client.StopSessions(b.t.Context(), operator.SessionFilter{}); err != nil {
			b.t.Error(err)
		}
		other.stop(syscall.SIGTERM)
		left.own(other.log.String())
		left.Check(b.t)
		if b.t.Failed() {
			b.t.Logf("log of the other server:\n%s", other.log)
		}
	}
}

func (b *bed) checkRestored(arn string) {
	t := b.t
	t.Helper()
	if sessions, err := b.client.Sessions(t.Context(), operator.SessionFilter{}); err != nil || len(sessions) > 0 {
		t.Errorf("sessions of another server: %+v, %v", sessions, err)
	}
	for endpoint, want := range map[string]string{"DEFAULT": "two", "prod": "one"} {
		out := b.mustIsolde("invoke", "echo", "{}", "--qualifier", endpoint, "--session", string(sessionNumber(1))+endpoint)
		var r report
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Count != 1 || r.Env["NUMBER"] != want {
			t.Errorf("endpoint %s answers %s, %v", endpoint, out, err)
		}
	}
	if r := b.echo(arn, sessionNumber(1), `{}`); r.Count != 1 {
		t.Errorf("the session goes on: %+v", r)
	}
	b.mustIsolde("invoke", "zipped", "{}", "--new-session")
	b.mustIsolde(deployZip("again")...) // of an object in the copy
	b.mustIsolde("invoke", "again", "{}", "--new-session")
	b.deploy("agents/echo") // it is a server like any other
	if out := b.mustIsolde("agent", "get", "echo"); !strings.Contains(out, fmt.Sprintf("%-7d  READY", 3)) {
		t.Errorf("after another deployment:\n%s", out)
	}
}
