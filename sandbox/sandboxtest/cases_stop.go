package sandboxtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

func testExit(t *testing.T, b *bench) {
	for _, c := range []struct {
		name string
		do   order.Order
		code int
	}{
		{"exits with 0", order.Order{Do: "exit", Code: 0}, 0},
		{"exits with 3", order.Order{Do: "exit", Code: 3}, 3},
		{"crashes", order.Order{Do: "crash"}, 2},
		{"is killed", order.Order{Do: "kill-self"}, 137},
	} {
		p := b.start(t, b.spec(t))
		p.do(t, c.do)
		exit := p.waitExit(t)
		if exit.Code != c.code {
			t.Errorf("an agent that %s: Exit = %+v, want code %d", c.name, exit, c.code)
		}
		if c.code < 128 && exit.Reason != sandbox.ExitedItself {
			t.Errorf("an agent that %s: reason %q, want %q", c.name, exit.Reason, sandbox.ExitedItself)
		}
		if conn, err := p.Dial(t.Context(), p.port); err == nil {
			conn.Close()
			t.Errorf("an agent that %s can be dialed afterwards", c.name)
		}
		if c.name == "crashes" && !strings.Contains(p.log(t), "told to crash") {
			t.Errorf("the log does not tell of the crash:\n%s", p.log(t))
		}
		p.stop(t, b, time.Second)
		if again := p.Exit(); again != exit {
			t.Errorf("Stop changed Exit from %+v to %+v", exit, again)
		}
	}
}

func testStopPolite(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	p.stop(t, b, patience)
	if !strings.Contains(p.log(t), "says goodbye") {
		t.Errorf("the agent was not asked to terminate:\n%s", p.log(t))
	}
	if conn, err := p.Dial(t.Context(), p.port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial after Stop = %v, %v; want net.ErrClosed in the chain", conn, err)
	}
}

func testStopStubborn(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	p.do(t, order.Order{Do: "ignore-term"})
	p.stop(t, b, 200*time.Millisecond)
	if got := p.Exit().Reason; got != sandbox.ExitedKilled {
		t.Errorf("reason = %q, want %q", got, sandbox.ExitedKilled)
	}
}

// testStopAtOnce ends the polite part by ctx, long before the grace is over.
func testStopAtOnce(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	p.do(t, order.Order{Do: "ignore-term"})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(ctx, time.Hour) }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("stop: %v", err)
		}
	case <-time.After(patience):
		t.Error("Stop goes on after its ctx ended")
	}
	b.checkGone(t, p.ID())
}

func testStopConcurrent(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	var callers sync.WaitGroup
	for i := range 5 {
		callers.Go(func() {
			if err := p.Stop(t.Context(), time.Duration(i)*time.Second); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
			select {
			case <-p.Done():
			default:
				t.Errorf("caller %d returned before the agent's end", i)
			}
		})
	}
	callers.Wait()
	p.stop(t, b, time.Second)
}

func testStopStreaming(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	order := strings.NewReader(`{"do":"stream","count":1000,"millis":100}`)
	resp, err := p.client().Post("http://agent/invocations", "application/json", order) //nolint:bodyclose // it is, under another name
	if err != nil {
		t.Fatal(err)
	}
	body := resp.Body
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, len("data: 0\n\n"))); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("first chunk: %v, %s", err, resp.Status)
	}
	p.stop(t, b, 0)
	broken := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, body)
		broken <- err
	}()
	select {
	case err := <-broken:
		if err == nil {
			t.Error("a stream cut off by Stop ended as if it were whole")
		}
	case <-time.After(patience):
		t.Error("a stream hangs after Stop")
	}
}

// testChildren has children that left the agent's session and have another
// parent, and ends the agent in each way.
func testChildren(t *testing.T, b *bench) {
	if b.harness.ForksEscape != "" {
		t.Skip(b.harness.ForksEscape)
	}
	p := b.start(t, b.spec(t))
	p.do(t, order.Order{Do: "fork", Count: 3})
	p.do(t, order.Order{Do: "spawn", Count: 3})
	p.stop(t, b, patience)

	p = b.start(t, b.spec(t))
	p.do(t, order.Order{Do: "fork", Count: 3})
	p.do(t, order.Order{Do: "spawn", Count: 3})
	p.stop(t, b, 0)

	p = b.start(t, b.spec(t))
	p.do(t, order.Order{Do: "fork", Count: 3})
	p.do(t, order.Order{Do: "exit"})
	p.waitExit(t)
	p.stop(t, b, time.Second)
}
