package cli

import (
	"bytes"
	"context"
	"io"
	"syscall"
	"testing"
)

// environment is a getenv with a home folder of its own.
func environment(t *testing.T, s *fakeServer) func(string) string {
	home := t.TempDir()
	return func(name string) string {
		switch name {
		case "HOME":
			return home
		case "ISOLDE_SERVER":
			return s.URL
		}
		return ""
	}
}

// expect reads exactly the text from r.
func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// The agent waits until the first part of its answer has been seen on stdout
// before it gives the second.
func TestInvokeStreams(t *testing.T) {
	s := newFakeServer()
	defer s.Close()
	out, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- Main(t.Context(), []string{"invoke", "weather", "wait"}, nil, w, io.Discard, environment(t, s))
		w.Close()
	}()
	expect(t, out, "first")
	<-s.gate
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != " second\n" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
}

func TestInterruptedInvoke(t *testing.T) {
	s := newFakeServer()
	defer s.Close()
	ctx, interrupt := context.WithCancelCause(t.Context())
	out, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, []string{"invoke", "weather", "wait"}, nil, w, &stderr, environment(t, s))
		w.Close()
	}()
	expect(t, out, "first")
	interrupt(interruption{syscall.SIGINT})
	if rest, err := io.ReadAll(out); err != nil || string(rest) != "\n" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if c := <-code; c != 130 {
		t.Errorf("exit code %d", c)
	}
	if bytes.Contains(stderr.Bytes(), []byte("error:")) {
		t.Errorf("an interruption is no error: %s", stderr.String())
	}
}
