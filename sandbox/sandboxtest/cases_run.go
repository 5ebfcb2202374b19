package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

func testStats(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	before, err := p.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.do(t, order.Order{Do: "burn", Millis: 300})
	p.do(t, order.Order{Do: "memory", Count: 64 << 20})
	after, err := p.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if used := after.CPU - before.CPU; used < 50*time.Millisecond || used > time.Minute {
		t.Errorf("300 ms of work count as %v of CPU time", used)
	}
	if grown := after.MemoryBytes - before.MemoryBytes; grown < 32<<20 || grown > 1<<30 {
		t.Errorf("64 MiB count as %d bytes", grown)
	}
	if after.Tasks < 1 || after.Tasks > 1000 {
		t.Errorf("%d tasks", after.Tasks)
	}
	p.stop(t, b, 0)
	if _, err := p.Stats(t.Context()); err != nil && isolde.CodeOf(err) == isolde.CodeUnsupported {
		t.Errorf("Stats after Stop: %v", err)
	}
}

// testLimits is for drivers that isolate: one that does not cannot bound what
// an agent takes of the host.
func testLimits(t *testing.T, b *bench) {
	if !b.driver.Capabilities().Isolated {
		t.Log("the driver bounds nothing")
		return
	}
	spec := b.spec(t)
	spec.Resources.MemoryBytes = 256 << 20
	spec.Resources.DiskBytes = 32 << 20
	p := b.start(t, spec)
	p.do(t, order.Order{Do: "disk", Path: "small", Count: 8 << 20})
	if got, err := p.try(order.Order{Do: "disk", Path: "large", Count: 64 << 20}); err != nil || got.Error == "" {
		t.Errorf("wrote %s bytes, %v; the bound is %d", got.Value, err, spec.Resources.DiskBytes)
	}
	p.do(t, order.Order{Do: "memory", Count: 64 << 20})
	if got, err := p.try(order.Order{Do: "memory", Count: 1 << 30}); err == nil {
		t.Errorf("took 1 GiB (%+v); the bound is %d", got, spec.Resources.MemoryBytes)
	}
	if exit := p.waitExit(t); exit.Reason != sandbox.ExitedNoMemory {
		t.Errorf("Exit = %+v, want reason %q", exit, sandbox.ExitedNoMemory)
	}
	p.stop(t, b, time.Second)
}

// zeros is a reader of zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func testExec(t *testing.T, b *bench) {
	p := b.start(t, b.spec(t))
	execer, ok := p.Sandbox.(sandbox.Execer)
	if !ok {
		t.Log("the driver's sandboxes cannot execute commands")
		return
	}
	self := agentPath
	if !b.driver.Capabilities().Isolated {
		self = "./agent"
	}
	var out, errs output
	code, err := execer.Exec(t.Context(), sandbox.Command{
		Args: []string{self, "--child", "exec", "a", "b c"}, Env: []string{"EXTRA=more"},
		Stdout: out.write, Stderr: errs.write,
	})
	if err != nil || code != 7 {
		t.Errorf("Exec = %d, %v; want 7", code, err)
	}
	dir := p.do(t, order.Order{Do: "info"}).Info.Dir
	if want := "out a b c " + dir + " more\n"; out.String() != want {
		t.Errorf("stdout = %q, want %q", out.String(), want)
	}
	if errs.String() != "err\n" {
		t.Errorf("stderr = %q", errs.String())
	}

	const typed = 3 << 20
	var read output
	code, err = execer.Exec(t.Context(), sandbox.Command{
		Args: []string{self, "--child", "exec", "count"}, Stdin: io.LimitReader(zeros{}, typed), Stdout: read.write,
	})
	if want := fmt.Sprintf("%d bytes\n", typed); err != nil || code != 0 || read.String() != want {
		t.Errorf("a command with standard input = %d, %v, and says %q; want %q", code, err, read.String(), want)
	}

	if _, err := execer.Exec(t.Context(), sandbox.Command{Args: []string{"/no-such-command"}}); err == nil {
		t.Error("a command that does not exist ran")
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	go func() {
		_, err := execer.Exec(ctx, sandbox.Command{Args: []string{self, "--child", "exec", "sleep"}, Stdout: func([]byte) error {
			once.Do(func() { close(started) })
			return nil
		}})
		done <- err
	}()
	select {
	case <-started:
	case err := <-done:
		t.Fatalf("the command that sleeps ended: %v", err)
	}
	tasks := func() int { return len(p.do(t, order.Order{Do: "info"}).Info.PIDs) }
	during := tasks()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Exec whose ctx ended: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Exec goes on after its ctx ended")
	}
	if b.driver.Capabilities().Isolated {
		deadline := time.Now().Add(patience)
		for tasks() >= during && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if tasks() >= during {
			t.Error("the command runs on after its ctx ended")
		}
	}

	// A command goes with its sandbox.
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	began := make(chan struct{})
	var begin sync.Once
	go func() {
		_, err := execer.Exec(ctx, sandbox.Command{Args: []string{self, "--child", "exec", "sleep"}, Stdout: func([]byte) error {
			begin.Do(func() { close(began) })
			return nil
		}})
		done <- err
	}()
	<-began
	p.stop(t, b, 0)
	if err := <-done; err != nil {
		t.Logf("Exec ended with %v", err)
	}
	if ctx.Err() != nil {
		t.Error("Exec hangs after Stop")
	}
}

// output collects what a command writes.
type output struct {
	mu   sync.Mutex
	data []byte
}

func (o *output) write(p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = slices.Concat(o.data, p)
	return nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ReplaceAll(string(o.data), "\r\n", "\n")
}
