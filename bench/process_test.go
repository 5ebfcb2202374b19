//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// process is this binary in another role.
type process struct {
	b    *testing.B
	cmd  *exec.Cmd
	log  string // path of its stderr
	url  string // where it serves
	host string // host:port of url
	ask  http.Client
}

var urlRE = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// startProcess starts a role and waits for the URL that it prints. What it
// keeps is in dir.
func startProcess(b *testing.B, role, dir string, args []string, env ...string) *process {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(dir, role+".sock")
	p := &process{b: b, cmd: exec.Command(exe, args...), log: filepath.Join(dir, role+".log")}
	p.ask.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	p.cmd.Env = append(append(os.Environ(), roleVar+"="+role, socketVar+"="+socket, "XDG_STATE_HOME="+dir, "NO_COLOR=1"), env...)
	stderr, err := os.Create(p.log)
	if err != nil {
		b.Fatal(err)
	}
	defer stderr.Close()
	p.cmd.Stderr = stderr
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.stop)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(p.log)
		if err != nil {
			b.Fatal(err)
		}
		if m := urlRE.FindSubmatch(text); m != nil {
			p.url, p.host = string(m[0]), string(m[1])
			return p
		}
		if bytes.Contains(text, []byte("error:")) {
			break
		}
	}
	text, _ := os.ReadFile(p.log)
	b.Fatalf("%s did not start:\n%s", role, text)
	return nil
}

// stop ends the process and waits for it.
func (p *process) stop() {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.b.Errorf("stop: %v", err)
	}
	kill := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(p.log)
		p.b.Errorf("ended with %v:\n%s", err, text)
	} else if p.b.Failed() {
		text, _ := os.ReadFile(p.log)
		p.b.Logf("%s:\n%s", p.log, text)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// usage is what the process has used so far.
func (p *process) usage() (u usage) {
	p.b.Helper()
	if err := json.Unmarshal(p.get("/usage"), &u); err != nil {
		p.b.Fatal(err)
	}
	return u
}

// profile profiles the process until the benchmark ends, if that was asked for.
func (p *process) profile() {
	if *profile == "" {
		return
	}
	file, err := filepath.Abs(*profile)
	if err != nil {
		p.b.Fatal(err)
	}
	p.get("/profile/start?file=" + url.QueryEscape(file))
	p.b.Cleanup(func() { p.get("/profile/stop") })
}

func (p *process) get(path string) []byte {
	p.b.Helper()
	resp, err := p.ask.Get("http://process" + path)
	if err != nil {
		p.b.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		p.b.Fatal(fmt.Errorf("%s: %s: %s %w", path, resp.Status, body.String(), err))
	}
	return body.Bytes()
}
