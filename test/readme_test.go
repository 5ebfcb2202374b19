package test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde/internal/need"
)

var codeBlock = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```")

// TestREADME does what the README tells a new user to do: every block of
// commands and every program in it, against the server of make run.
func TestREADME(t *testing.T) {
	need.GVisor(t)
	packages := clients(t)[0].env[0] // where boto3 is
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	run := startMakeRun(t)
	env := append(os.Environ(), "ISOLDE_SERVER="+run.url, "XDG_STATE_HOME="+t.TempDir(), packages, "NO_COLOR=1")
	folder := copyOfReadmeFolder(t)
	isolde := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("../bin/isolde", args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("isolde %v: %v", args, err)
		}
		return string(out)
	}
	ran := 0
	for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		var cmd *exec.Cmd
		switch language, code := block[1], block[2]; language {
		case "sh":
			// These two are running: one is this test's server, the other is this test.
			if code == "make run\n" || code == "make test\n" {
				ran++
				continue
			}
			cmd = exec.Command("bash", "-euc", code)
		case "python":
			arn := regexp.MustCompile(`arn:\S+python_streaming-\w+`).FindString(isolde("agent", "get", "python_streaming"))
			cmd = exec.Command("bash", "-euc", `eval "$(bin/isolde env --aws)"; export AWS_DEFAULT_REGION=$AWS_REGION; exec python3 -`)
			cmd.Env = append(env, "AGENT_ARN="+arn)
			cmd.Stdin = strings.NewReader(code)
		case "text":
			continue // a picture
		default:
			t.Errorf("block of %s: this test does not know how to run it", language)
			continue
		}
		if cmd.Env == nil {
			cmd.Env = env
		}
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("block failed: %v\n%s\n%s", err, block[2], out)
		}
		if want, ok := printed(block[2]); ok && !bytes.Contains(out, []byte(want)) {
			t.Errorf("the snippet printed %q, without %s", out, want)
		}
		ran++
	}
	if ran < 5 {
		t.Errorf("%d blocks ran; is the README still written in blocks?", ran)
	}
	run.stop(t)
}

// printed is what a program of the README prints.
func printed(code string) (want string, ok bool) {
	switch {
	case strings.Contains(code, "2X5"):
		return "10", true
	case strings.Contains(code, "list_agent_runtimes"):
		return "python_streaming 1 READY", true
	}
	return "", false
}

// copyOfReadmeFolder is a folder in which the README's commands work and
// leave their files.
func copyOfReadmeFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(folder, "bin")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// makeRun is make run, under way.
type makeRun struct {
	url   string
	cmd   *exec.Cmd
	left  leftovers
	out   bytes.Buffer
	ended chan struct{}
	done  bool
}

// startMakeRun runs make run on a free port until it says what to do next.
func startMakeRun(t *testing.T) *makeRun {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &makeRun{url: "http://" + l.Addr().String(), ended: make(chan struct{})}
	l.Close()
	data := t.TempDir()
	if err := os.MkdirAll(images, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(images, filepath.Join(data, "images")); err != nil {
		t.Fatal(err)
	}
	r.left = watch(t, data)
	r.cmd = exec.Command("make", "--no-print-directory", "run")
	r.cmd.Dir = ".."
	r.cmd.Env = append(os.Environ(), "ISOLDE_SERVER="+r.url, "ISOLDE_DATA_DIR="+data, "XDG_STATE_HOME="+t.TempDir(), "MAKEFLAGS=")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches all of a group
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stdout, r.cmd.Stderr = w, w
	err = r.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(r.ended)
		in := bufio.NewReader(io.TeeReader(pipe, &r.out))
		for told := false; ; {
			line, err := in.ReadString('\n')
			if !told && strings.Contains(line, "The server runs on") {
				told = true
				close(ready)
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { r.stop(t) })
	select {
	case <-ready:
	case <-r.ended:
		t.Fatalf("make run ended early:\n%s", &r.out)
	}
	return r
}

// stop does what Ctrl-C does and checks that nothing is left.
func (r *makeRun) stop(t *testing.T) {
	t.Helper()
	if r.done {
		return
	}
	r.done = true
	if err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Error(err)
	}
	<-r.ended
	_ = r.cmd.Wait() // make reports the interrupt as it likes
	r.left.own(r.out.String())
	r.left.Check(t)
	for _, want := range []string{"10", "44"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("make run did not print the agent's answer %s:\n%s", want, &r.out)
		}
	}
	if t.Failed() {
		t.Logf("make run printed:\n%s", &r.out)
	}
}
