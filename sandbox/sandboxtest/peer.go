package sandboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// patience bounds everything that must happen but may take its time on a busy
// machine.
const patience = 30 * time.Second

// peer is a sandbox and the way to its agent.
type peer struct {
	sandbox.Sandbox
	spec sandbox.Spec
	port int
}

// client makes a connection for each request, so that none is left open.
func (p *peer) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.Dial(ctx, p.port)
		},
	}}
}

// waitHealthy pings until the agent answers Healthy.
func (p *peer) waitHealthy(t *testing.T) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.Done():
			t.Fatalf("the agent %v before it was healthy\n%s", p.Exit(), p.log(t))
		default:
		}
		resp, err := p.client().Get("http://agent/ping")
		if err != nil {
			last = err
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && strings.Contains(string(body), "Healthy") {
			return
		}
		last = fmt.Errorf("ping answers %s %q", resp.Status, body)
	}
	t.Fatalf("the agent is not healthy: %v\n%s", last, p.log(t))
}

// try sends an order and returns the reply, whose Error may be set.
func (p *peer) try(o order.Order) (order.Reply, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return order.Reply{}, err
	}
	resp, err := p.client().Post("http://agent/invocations", "application/json", bytes.NewReader(body))
	if err != nil {
		return order.Reply{}, err
	}
	defer resp.Body.Close()
	var reply order.Reply
	err = json.NewDecoder(resp.Body).Decode(&reply)
	return reply, err
}

// do sends an order that must succeed.
func (p *peer) do(t *testing.T, o order.Order) order.Reply {
	t.Helper()
	reply, err := p.try(o)
	if err != nil {
		t.Fatalf("order %q: %v\n%s", o.Do, err, p.log(t))
	}
	if reply.Error != "" {
		t.Fatalf("order %q: the agent answers: %s", o.Do, reply.Error)
	}
	return reply
}

// waitExit waits for the end of the agent.
func (p *peer) waitExit(t *testing.T) sandbox.Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Exit()
	case <-time.After(patience):
		t.Fatal("Done is not closed although the agent ended")
		return sandbox.Exit{}
	}
}

// stop stops the sandbox and checks that nothing is left at once, before any
// Close of the driver can clean up after it.
func (p *peer) stop(t *testing.T, b *bench, grace time.Duration) {
	t.Helper()
	if err := p.Stop(t.Context(), grace); err != nil {
		t.Errorf("stop: %v", err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("Done is open after Stop returned")
	}
	b.checkGone(t, p.ID())
}

// checkGone fails for what is left of one sandbox, or of any if id is empty.
func (b *bench) checkGone(t *testing.T, id sandbox.ID) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(settle); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		left = slices.DeleteFunc(b.leftovers.New(), func(what string) bool {
			return !strings.Contains(what, string(id)) || !idRE.MatchString(what)
		})
		if len(left) == 0 {
			return
		}
	}
	for _, what := range left {
		t.Errorf("left after the end of sandbox %s: %s", id, what)
	}
}

// log is what the agent printed so far.
func (p *peer) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(p.spec.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// waitLog waits until the log holds the text.
func (p *peer) waitLog(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(p.log(t), text) {
			return
		}
	}
	t.Errorf("the log does not hold %q but:\n%s", text, p.log(t))
}
