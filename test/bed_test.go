// Package test drives a whole server from outside: real agents in real
// sandboxes, called by clients no one here wrote.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/internal/cli"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/server"
)

// asIsolde makes this test binary the isolde command, so that servers are
// processes of their own, to be killed, and run under the race detector.
const asIsolde = "ISOLDE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asIsolde) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
	}
	os.Exit(m.Run())
}

// command is the isolde command, with a home of the test's own.
func command(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asIsolde+"=1", "XDG_STATE_HOME="+home, "NO_COLOR=1")
	return cmd
}

// bed is a running server in a process of its own.
type bed struct {
	t      *testing.T
	driver string
	data   string
	url    string
	log    *bytes.Buffer // complete once read is closed
	read   chan struct{}

	earlier string // logs of servers before this one
	server  *exec.Cmd
	client  *operator.Client
	flags   []string
	key     *auth.Key // that commands sign with; nil: none
}

// forEachDriver runs a test against a server of each driver that needs no
// more than this machine has. After it nothing is left on the machine.
func forEachDriver(t *testing.T, f func(t *testing.T, b *bed), flags ...string) {
	t.Helper()
	for _, driver := range []string{"gvisor", "process"} {
		t.Run(driver, func(t *testing.T) { f(t, newBed(t, driver, flags...)) })
	}
}

// images is shared by all servers of a run, so that the same layers are not
// built for each of them. The rest of a data directory is each server's own.
var images = filepath.Join(cacheDir(), "images")

func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "isolde-test")
}

func newBed(t *testing.T, driver string, flags ...string) *bed {
	t.Helper()
	return newBedFor(t, nil, driver, flags...)
}

// newBedFor is newBed with a key for those who look after the server.
func newBedFor(t *testing.T, key *auth.Key, driver string, flags ...string) *bed {
	t.Helper()
	runsc := ""
	if driver == "gvisor" {
		runsc = need.GVisor(t)
	}
	need.NetNS(t)
	b := &bed{t: t, driver: driver, data: t.TempDir(), flags: flags, key: key}
	if runsc != "" {
		b.flags = append(b.flags, "--runsc", runsc)
	}
	if err := os.MkdirAll(images, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(images, filepath.Join(b.data, "images")); err != nil {
		t.Fatal(err)
	}
	left := watch(t, b.data)
	b.start()
	t.Cleanup(func() {
		if t.Failed() {
			logs, _, _ := b.isolde("logs")
			t.Logf("agents' output:\n%s", logs[max(0, len(logs)-64<<10):])
		}
		if _, err := b.client.StopSessions(context.Background(), operator.SessionFilter{}); err != nil {
			t.Error(err)
		}
		b.stop(syscall.SIGTERM)
		left.own(b.earlier + b.log.String())
		left.Check(t)
		if t.Failed() {
			t.Logf("server's log:\n%s", b.earlier+b.log.String())
		}
	})
	return b
}

// leftovers looks for what one server leaves on the machine, where others run
// at the same time.
type leftovers struct{ *sandboxtest.Leftovers }

func watch(t *testing.T, dataDir string) leftovers {
	t.Helper()
	run, err := server.RunDir(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	l := leftovers{sandboxtest.Watch(filepath.Join(dataDir, "sandboxes"), run)}
	l.Own(sandbox.ID(filepath.Base(run))) // is in the names of its links
	return l
}

// own counts the sandboxes that a server's log names.
func (l leftovers) own(log string) {
	for _, id := range sandboxID.FindAllString(log, -1) {
		l.Own(sandbox.ID(id))
	}
}

var sandboxID = regexp.MustCompile(`\bs[0-9a-f]{10}\b`) // as sandbox.NewID makes them

// start starts the server, again after stop or kill on the same data.
func (b *bed) start() {
	b.t.Helper()
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", b.data, "--driver", b.driver, "--log-level", "debug"}, b.flags...)
	b.server = command(b.t, b.data, args...)
	stderr, err := b.server.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.server.Start(); err != nil {
		b.t.Fatal(err)
	}
	if b.log != nil {
		b.earlier += b.log.String()
	}
	b.log = &bytes.Buffer{}
	found := make(chan string, 1)
	b.read = make(chan struct{})
	go func() { // ends with the server
		defer close(b.read)
		var line []byte
		buf := make([]byte, 4096)
		for {
			n, err := stderr.Read(buf)
			b.log.Write(buf[:n])
			line = append(line, buf[:n]...)
			if _, after, ok := bytes.Cut(line, []byte("http://")); ok && len(found) == 0 {
				if end := bytes.IndexAny(after, " \n\""); end > 0 {
					found <- "http://" + string(after[:end])
				}
			}
			if err != nil {
				close(found)
				return
			}
		}
	}()
	select {
	case b.url = <-found:
	case <-time.After(time.Minute):
	}
	if b.url == "" {
		_ = b.server.Process.Kill()
		_ = b.server.Wait()
		b.t.Fatalf("server did not start:\n%s", b.log)
	}
	b.client = &operator.Client{URL: b.url, HTTP: &http.Client{Transport: withPassword{b.key, &http.Transport{DisableKeepAlives: true}}}}
}

// withPassword sends a key as user name and password.
type withPassword struct {
	key *auth.Key
	*http.Transport
}

func (p withPassword) RoundTrip(req *http.Request) (*http.Response, error) {
	if p.key != nil {
		req = req.Clone(req.Context())
		req.SetBasicAuth(p.key.ID, string(p.key.Secret))
	}
	return p.Transport.RoundTrip(req)
}

// stop ends the server with a signal and waits for it.
func (b *bed) stop(signal syscall.Signal) {
	b.t.Helper()
	if err := b.server.Process.Signal(signal); err != nil {
		b.t.Errorf("stop server: %v", err)
	}
	<-b.read // Wait closes the pipe
	err := b.server.Wait()
	if signal == syscall.SIGTERM && err != nil {
		b.t.Errorf("server ended with %v:\n%s", err, b.log)
	}
}

// isolde runs a command against the server and returns what it printed.
func (b *bed) isolde(args ...string) (stdout, stderr string, exit int) {
	b.t.Helper()
	cmd := command(b.t, b.data, args...)
	cmd.Env = append(append(cmd.Env, "ISOLDE_SERVER="+b.url), credentials(b.key)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok { //nolint:errorlint // Run returns it unwrapped
		b.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// credentials are the variables that have AWS's clients sign with a key.
func credentials(k *auth.Key) []string {
	if k == nil {
		return nil
	}
	return []string{"AWS_ACCESS_KEY_ID=" + k.ID, "AWS_SECRET_ACCESS_KEY=" + string(k.Secret)}
}

// mustIsolde is isolde for a command that must succeed.
func (b *bed) mustIsolde(args ...string) string {
	b.t.Helper()
	out, errs, exit := b.isolde(args...)
	if exit != 0 {
		b.t.Fatalf("isolde %s: exit code %d\n%s%s", strings.Join(args, " "), exit, out, errs)
	}
	return out
}

// deploy deploys a folder and returns the ARN.
func (b *bed) deploy(folder string) string {
	b.t.Helper()
	var d struct {
		ARN     string `json:"agentRuntimeArn"`
		ID      string `json:"agentRuntimeId"`
		Version string `json:"agentRuntimeVersion"`
	}
	if err := json.Unmarshal([]byte(b.mustIsolde("deploy", folder, "-o", "json")), &d); err != nil || d.ARN == "" || d.ID == "" || d.Version == "" {
		b.t.Fatalf("deploy %s printed %+v: %v", folder, d, err)
	}
	return d.ARN
}

// call invokes an agent over plain HTTP and returns status and body.
func (b *bed) call(arn string, session isolde.SessionID, body io.Reader) (*http.Response, []byte) {
	b.t.Helper()
	resp, err := b.request(b.t.Context(), arn, session, body)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("read answer: %v", err)
	}
	return resp, out
}

func (b *bed) request(ctx context.Context, arn string, session isolde.SessionID, body io.Reader) (*http.Response, error) {
	return b.post(ctx, arn, "invocations", session, body)
}

// post sends a request of the data plane.
func (b *bed) post(ctx context.Context, arn, operation string, session isolde.SessionID, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/runtimes/"+strings.ReplaceAll(arn, "/", "%2F")+"/"+operation, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", string(session))
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
}

// report is what the echo agent answers.
type report struct {
	Count    int    `json:"count"`
	PID      int    `json:"pid"`
	UID      int    `json:"uid"`
	CWD      string `json:"cwd"`
	Hostname string `json:"hostname"`
	Body     struct {
		Length int64  `json:"length"`
		SHA256 string `json:"sha256"`
	} `json:"body"`
	Headers map[string]string `json:"headers"`
	Env     map[string]string `json:"env"`
	Files   map[string]int    `json:"files"` // how often this session has written in cwd and tmp
	Read    map[string]any    `json:"read"`
	Connect map[string]any    `json:"connect"`
}

// echo invokes the echo agent with options.
func (b *bed) echo(arn string, session isolde.SessionID, options string) report {
	b.t.Helper()
	resp, body := b.call(arn, session, strings.NewReader(options))
	var r report
	if err := json.Unmarshal(body, &r); err != nil || resp.StatusCode != 200 {
		b.t.Fatalf("echo answered %s: %s", resp.Status, body)
	}
	return r
}

// sessionNumber makes the n-th session id of a test.
func sessionNumber(n int) isolde.SessionID {
	return isolde.SessionID(fmt.Sprintf("session-%032d", n))
}
