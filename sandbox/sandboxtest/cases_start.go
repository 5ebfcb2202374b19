package sandboxtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

func testStart(t *testing.T, b *bench) {
	spec := b.spec(t)
	p := b.start(t, spec)
	if got := p.do(t, order.Order{Do: "echo", Value: "hello"}).Value; got != "hello" {
		t.Errorf("echo = %q", got)
	}
	if p.ID() != spec.ID {
		t.Errorf("ID = %q, want %q", p.ID(), spec.ID)
	}
	if diff := cmp.Diff(spec.Labels, p.Labels()); diff != "" {
		t.Errorf("Labels (-want +got)\n%s", diff)
	}
	// A high port: without a network of its own, others may listen nearby.
	if conn, err := p.Dial(t.Context(), 64999); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial where nothing listens = %v, %v; want ECONNREFUSED in the chain", conn, err)
	}
	select {
	case <-p.Done():
		t.Error("Done is closed while the agent runs")
	default:
	}
	p.stop(t, b, time.Second)
}

func testSpec(t *testing.T, b *bench) {
	spec := b.spec(t, "one", "two words", "--three=3")
	isolated := b.driver.Capabilities().Isolated
	if !isolated {
		host := *spec.Root.Host
		host.Env = []string{"FROM_HOST_ROOT=1", "WITH_SPACE=host root wins"}
		spec.Root.Host = &host
	}
	in := b.start(t, spec).do(t, order.Order{Do: "info"}).Info
	if diff := cmp.Diff(spec.Command[1:], in.Args[1:]); diff != "" {
		t.Errorf("arguments (-want +got)\n%s", diff)
	}
	want, got := slices.Clone(spec.Env), in.Env
	if !isolated {
		// The driver says where to keep files, and HostRoot wins over Env.
		ownFolder := func(kv string) bool { return strings.HasPrefix(kv, "HOME=") || strings.HasPrefix(kv, "TMPDIR=") }
		got = slices.DeleteFunc(got, ownFolder)
		want = slices.DeleteFunc(want, func(kv string) bool { return ownFolder(kv) || strings.HasPrefix(kv, "WITH_SPACE=") })
		want = append(want, spec.Root.Host.Env...)
		if !b.driver.Capabilities().OwnNetwork {
			// On the host's network an agent is not told to listen beyond loopback.
			want = slices.DeleteFunc(want, func(kv string) bool { return kv == "DOCKER_CONTAINER=1" })
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
	if !isolated {
		if strings.HasPrefix(in.Dir, spec.Root.Host.Code) || !strings.HasPrefix(in.Dir, b.state) {
			t.Errorf("working directory %q is not a copy of its own under %q", in.Dir, b.state)
		}
		return
	}
	if in.Dir != spec.Dir || in.Hostname != spec.Hostname || in.UID != int(spec.UID) || in.GID != int(spec.GID) {
		t.Errorf("inside: dir %q, hostname %q, uid %d, gid %d; want %q, %q, %d, %d",
			in.Dir, in.Hostname, in.UID, in.GID, spec.Dir, spec.Hostname, spec.UID, spec.GID)
	}
	for _, pid := range in.PIDs {
		if pid > 1000 {
			t.Errorf("process %d is visible inside; the host's processes must not be", pid)
		}
	}
}

func testLog(t *testing.T, b *bench) {
	spec := b.spec(t)
	if err := os.WriteFile(spec.LogFile, []byte("of an earlier sandbox\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := b.start(t, spec)
	p.do(t, order.Order{Do: "print", Value: "first words"})
	p.waitLog(t, "first words\n")
	p.waitLog(t, "stderr: first words\n")
	if !strings.HasPrefix(p.log(t), "of an earlier sandbox\n") {
		t.Errorf("the log was truncated:\n%s", p.log(t))
	}
	for _, s := range b.restart(t) {
		p = b.peer(t, s, spec)
	}
	p.do(t, order.Order{Do: "print", Value: "after the restart"})
	p.waitLog(t, "after the restart\n")
	p.waitLog(t, "stderr: after the restart\n")
	p.stop(t, b, patience)
	p.waitLog(t, "says goodbye\n")
}

// testApart uses the same port in both, which is half of the test.
func testApart(t *testing.T, b *bench) {
	caps := b.driver.Capabilities()
	if caps.MaxSandboxes == 1 {
		t.Log("the driver runs one sandbox at a time")
		return
	}
	specA, specB := b.spec(t), b.spec(t)
	specB.Labels = map[string]string{"is": "b"}
	pa, pb := b.start(t, specA), b.start(t, specB)
	paths := []string{"note.txt"}
	if caps.Isolated {
		paths = append(paths, "/tmp/note.txt")
	}
	pa.do(t, order.Order{Do: "remember", Key: "k", Value: "of a"})
	if got := pb.do(t, order.Order{Do: "recall", Key: "k"}).Value; got != "" {
		t.Errorf("b's memory holds %q", got)
	}
	for _, path := range paths {
		pa.do(t, order.Order{Do: "write", Path: path, Value: "of a"})
		if got := pa.do(t, order.Order{Do: "read", Path: path}).Value; got != "of a" {
			t.Errorf("a reads %q from %s", got, path)
		}
		if got, err := pb.try(order.Order{Do: "read", Path: path}); err != nil || got.Error == "" {
			t.Errorf("b reads %q, %v from a's %s", got.Value, err, path)
		}
	}
	if _, err := os.Stat(filepath.Join(b.root.Host.Code, "note.txt")); err == nil {
		t.Error("a wrote into the folder that all sandboxes start from")
	}
	if caps.OwnNetwork {
		conn, err := pb.Dial(t.Context(), b.harness.Port)
		if err != nil {
			t.Fatal(err)
		}
		address := conn.RemoteAddr().String()
		conn.Close()
		if got, err := pa.try(order.Order{Do: "dial", Address: address}); err != nil || got.Error == "" {
			t.Errorf("a reached b at %s (%v)", address, err)
		}
	}
	// The end of one is nothing to the other.
	pa.stop(t, b, 0)
	if got := pb.do(t, order.Order{Do: "echo", Value: "alive"}).Value; got != "alive" {
		t.Errorf("b after a's end: %q", got)
	}
	// A new sandbox finds nothing of an old one.
	pc := b.start(t, b.spec(t))
	if got, err := pc.try(order.Order{Do: "read", Path: paths[len(paths)-1]}); err != nil || got.Error == "" {
		t.Errorf("a later sandbox reads %q, %v from a's file", got.Value, err)
	}
}

func testBound(t *testing.T, b *bench) {
	limit := b.driver.Capabilities().MaxSandboxes
	if limit == 0 {
		t.Log("the driver has no bound")
		return
	}
	var first *peer
	for range limit {
		first = b.start(t, b.spec(t))
	}
	_, err := b.driver.Start(t.Context(), b.spec(t))
	if isolde.CodeOf(err) != isolde.CodeQuota || isolde.AsError(err).Hint == "" {
		t.Errorf("start beyond the bound: %v; want CodeQuota with a hint", err)
	}
	first.stop(t, b, 0)
	b.start(t, b.spec(t)).do(t, order.Order{Do: "echo"})
}

func testCancelledStart(t *testing.T, b *bench) {
	cause := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	spec := b.spec(t)
	s, err := b.driver.Start(ctx, spec)
	if err == nil {
		b.peer(t, s, spec)
		t.Fatal("started although ctx had ended")
	}
	if !errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
		t.Errorf("start: %v; want the end of ctx in the chain", err)
	}
	b.checkGone(t, spec.ID)
}

func testCancelMidway(t *testing.T, b *bench) {
	for delay := time.Millisecond; delay < 300*time.Millisecond; delay *= 3 {
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		spec := b.spec(t)
		s, err := b.driver.Start(ctx, spec)
		cancel()
		if err == nil {
			p := b.peer(t, s, spec)
			p.waitHealthy(t) // ctx has no hold on it any more
			p.stop(t, b, 0)
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start cancelled after %v: %v; want the end of ctx in the chain", delay, err)
		}
		b.checkGone(t, spec.ID)
	}
}

func testNotExecutable(t *testing.T, b *bench) {
	for _, name := range []string{"no-such-agent", "etc/not-executable"} {
		spec := b.spec(t)
		spec.Command = []string{"/" + name}
		spec.Root.Host = &sandbox.HostRoot{Code: b.root.Host.Code, Command: []string{"./" + name}}
		s, err := b.driver.Start(t.Context(), spec)
		if err == nil {
			b.peer(t, s, spec)
			t.Errorf("started %s", name)
			continue
		}
		if isolde.CodeOf(err) != isolde.CodeAgent || !strings.Contains(isolde.AsError(err).Message, name) {
			t.Errorf("start of %s: %v; want CodeAgent and a message that names it", name, err)
		}
		b.checkGone(t, spec.ID)
	}
}
