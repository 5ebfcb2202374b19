//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// The agents that are measured, as folders to deploy.
const (
	goAgent     = "../examples/go-hello"
	pythonAgent = "../examples/python-streaming"
	benchAgent  = "agent"
)

// server is a running Isolde server.
type server struct {
	*process
	driver string
	dir    string // its data directory
	client operator.Client
	net    string    // folder of its network; "" before the first session
	key    *auth.Key // that it asks for; nil: none
	left   *sandboxtest.Leftovers
}

// startServer starts a server of a driver, or skips the benchmark where the
// driver cannot run. When the benchmark ends, so do sessions and server, and
// it is checked that nothing is left of them.
func startServer(b *testing.B, driver string) *server {
	b.Helper()
	return startServerFor(b, driver, nil)
}

// startServerFor starts a server that asks for a key.
func startServerFor(b *testing.B, driver string, key *auth.Key) *server {
	b.Helper()
	need.Root(b)
	need.NetNS(b)
	s := &server{driver: driver, dir: tempDir(b), key: key}
	args := []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", s.dir, "--driver", driver}
	if driver == "gvisor" {
		args = append(args, "--runsc", need.GVisor(b))
	}
	if key != nil {
		if err := auth.AddToFile(filepath.Join(s.dir, "keys.yaml"), key); err != nil { // where a server looks
			b.Fatal(err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	images := filepath.Join(cache, "isolde-bench", "images")
	if err := os.MkdirAll(images, 0o755); err != nil {
		b.Fatal(err)
	}
	if key == nil { // another server beside this one would remove what it does not use
		if err := os.Symlink(images, filepath.Join(s.dir, "images")); err != nil {
			b.Fatal(err)
		}
	}
	s.left = sandboxtest.Watch(filepath.Join(s.dir, "sandboxes"))
	b.Cleanup(func() { // once the server has ended
		s.left.Check(b)
		if _, err := os.Lstat(s.net); s.net != "" && !errors.Is(err, os.ErrNotExist) {
			b.Errorf("left behind: %s", s.net)
		}
	})
	s.process = startProcess(b, roleServer, s.dir, args)
	s.client = operator.Client{URL: s.url, HTTP: &http.Client{Transport: &withKey{http.Transport{DisableKeepAlives: true}, key}}}
	b.Cleanup(func() {
		if _, err := s.client.StopSessions(context.Background(), operator.SessionFilter{}); err != nil {
			b.Error(err)
		}
	})
	return s
}

// withKey sends a key, if there is one.
type withKey struct {
	http.Transport
	key *auth.Key
}

func (t *withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.key != nil {
		r = r.Clone(r.Context())
		r.SetBasicAuth(t.key.ID, string(t.key.Secret))
	}
	return t.Transport.RoundTrip(r)
}

// tempDir is a folder with a short name, as paths of sockets need one.
func tempDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "isolde-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}

// deploy deploys a folder with the isolde command and returns the path that
// invokes the agent, escaped as AWS's SDKs do.
func (s *server) deploy(folder string) string {
	s.b.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.b.Fatal(err)
	}
	cmd := exec.Command(exe, "deploy", folder, "-o", "json", "--server", s.url)
	cmd.Env = append(os.Environ(), roleVar+"="+roleServer, socketVar+"="+filepath.Join(s.dir, "deploy.sock"), "XDG_STATE_HOME="+s.dir)
	if s.key != nil {
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+s.key.ID, "AWS_SECRET_ACCESS_KEY="+string(s.key.Secret))
	}
	out, err := cmd.Output()
	if err != nil {
		text, _ := os.ReadFile(s.log)
		s.b.Fatalf("deploy %s: %v\n%s", folder, err, text)
	}
	var d struct {
		ARN string `json:"agentRuntimeArn"`
	}
	if err := json.Unmarshal(out, &d); err != nil || d.ARN == "" {
		s.b.Fatalf("deploy %s printed %s: %v", folder, out, err)
	}
	return "/runtimes/" + url.QueryEscape(d.ARN) + "/invocations"
}

// session starts a session with its first call and returns it.
func (s *server) session(path string) operator.Session {
	s.b.Helper()
	id := isolde.NewSessionID()
	c := dial(s.b, s.through(path, id))
	defer c.close()
	if s.key == nil {
		c.call(s.b, hello)
	} else if _, err := c.try(s.sign(c.request(hello), false)); err != nil {
		s.b.Fatal(err)
	}
	got, err := s.client.Session(s.b.Context(), "", id)
	if err != nil || got.Sandbox == "" {
		s.b.Fatalf("session %+v: %v", got, err)
	}
	s.left.Own(sandbox.ID(got.Sandbox))
	s.net = networkOf(s.b, got.Sandbox)
	return got
}

// stopSession ends a session and waits until it is gone.
func (s *server) stopSession(id isolde.SessionID) {
	s.b.Helper()
	ctx, cancel := context.WithTimeout(s.b.Context(), time.Minute)
	defer cancel()
	if _, err := s.client.StopSession(ctx, "", id); err != nil {
		s.b.Fatal(err)
	}
}
