package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/operator"
)

// agentThatSays is an agent that answers every invocation with a text.
const agentThatSays = `
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.say(b'{"status":"Healthy"}')
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        print("asked", file=sys.stderr, flush=True)
        self.say(%q.encode())
    def say(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), H).serve_forever()
`

// lockedBuffer collects a command's output while it runs.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestDev edits an agent while isolde dev runs it.
func TestDev(t *testing.T) {
	need.NetNS(t)
	need.Command(t, "python3")
	folder, cache := t.TempDir(), t.TempDir()
	agent := filepath.Join(folder, "agent.py")
	writeFile(t, filepath.Join(folder, "isolde.yaml"), "name: edited\nentrypoint: agent.py\n")
	writeFile(t, agent, fmt.Sprintf(agentThatSays, "first"))
	left := watch(t, cache)
	dev := command(t, cache, "dev", folder, "--listen", "127.0.0.1:0", "--driver", "process", "--data-dir", cache)
	var out lockedBuffer
	dev.Stdout, dev.Stderr = &out, &out
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			if list, err := b.client.Sessions(t.Context(), operator.SessionFilter{}); err == nil {
				for _, s := range list {
					left.own(s.Sandbox)
				}
			}
			_ = dev.Process.Signal(syscall.SIGINT)
			if err := dev.Wait(); err != nil {
				t.Errorf("isolde dev ended with %v", err)
			}
			left.Check(t)
		}
		if t.Failed() {
			t.Logf("isolde dev printed:\n%s", &out)
		}
	}
	t.Cleanup(stop)
	b.await(func() error {
		_, after, ok := strings.Cut(out.String(), "http://")
		end := strings.IndexAny(after, " \n\"")
		if !ok || end < 0 {
			return errors.New("no address")
		}
		b.url = "http://" + after[:end]
		return nil
	})
	b.client = &operator.Client{URL: b.url}
	says := func(want string) {
		t.Helper()
		b.await(func() error {
			resp, err := b.request(t.Context(), "edited", sessionNumber(1), strings.NewReader("{}"))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			var body bytes.Buffer
			if _, err := body.ReadFrom(resp.Body); err != nil || body.String() != want {
				return fmt.Errorf("agent says %q (%s), want %q; %w", &body, resp.Status, want, err)
			}
			return nil
		})
	}
	printed := func(want string) {
		t.Helper()
		b.await(func() error {
			if !strings.Contains(out.String(), want) {
				return fmt.Errorf("not printed: %s", want)
			}
			return nil
		})
	}
	says("first")
	printed("asked") // the agent's output is in the terminal
	writeFile(t, agent, fmt.Sprintf(agentThatSays, "second"))
	says("second") // in the same session: its sandbox, idle, gave way
	writeFile(t, agent, "raise ValueError('broken on purpose')\n")
	b.await(func() error { // the next call meets it
		if resp, err := b.request(t.Context(), "edited", sessionNumber(1), strings.NewReader("{}")); err == nil {
			resp.Body.Close()
		}
		if !strings.Contains(out.String(), "ValueError: broken on purpose") {
			return errors.New("no traceback")
		}
		return nil
	})
	writeFile(t, agent, fmt.Sprintf(agentThatSays, "third"))
	says("third")
	if err := os.Remove(agent); err != nil {
		t.Fatal(err)
	}
	printed("error:") // and the version that works goes on
	says("third")
	stop()
}
