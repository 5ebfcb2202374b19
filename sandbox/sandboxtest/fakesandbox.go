package sandboxtest

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/isolde-run/isolde/sandbox"
)

// FakeSandbox is a sandbox of a [Fake]. Beside the methods of a sandbox it
// has those that make things happen to its agent.
type FakeSandbox struct {
	Spec sandbox.Spec // as given to Start

	driver   *Fake
	script   Script
	listener *memoryListener
	server   *http.Server
	served   chan struct{} // closed when the server's accept loop ended
	done     chan struct{}
	stopping sync.Mutex // held by Stop

	mu          sync.Mutex
	timers      []*time.Timer
	listening   bool
	dialError   error
	pingStatus  int
	pingBody    string
	pings       int
	stopError   error
	exit        sandbox.Exit
	dead        bool
	stopped     bool
	connections map[net.Conn]struct{}
}

var _ sandbox.Sandbox = (*FakeSandbox)(nil)

func newFakeSandbox(f *Fake, spec sandbox.Spec, script Script) *FakeSandbox {
	s := &FakeSandbox{
		Spec:        spec,
		driver:      f,
		script:      script,
		listener:    newMemoryListener(),
		served:      make(chan struct{}),
		done:        make(chan struct{}),
		pingStatus:  http.StatusOK,
		pingBody:    `{"status":"Healthy"}`,
		stopError:   script.StopError,
		connections: make(map[net.Conn]struct{}),
	}
	agent := script.Agent
	if agent == nil {
		agent = Echo
	}
	s.server = &http.Server{
		Handler:   s.withPing(agent),
		ConnState: s.track,
	}
	go func() {
		defer close(s.served)
		_ = s.server.Serve(s.listener) // ends with end()
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = script.HealthyAfter <= 0
	if !s.listening {
		s.timers = append(s.timers, time.AfterFunc(script.HealthyAfter, func() { s.setListening(true) }))
	}
	if script.ExitAfter > 0 {
		s.timers = append(s.timers, time.AfterFunc(script.ExitAfter, func() { s.ExitWith(script.ExitCode) }))
	}
	return s
}

// executing is a sandbox whose script runs commands.
type executing struct{ *FakeSandbox }

var _ sandbox.Execer = executing{}

// Exec does what the script says.
func (s executing) Exec(ctx context.Context, cmd sandbox.Command) (int, error) {
	return s.script.Exec(ctx, cmd)
}

// offered is the sandbox as the driver hands it out.
func (s *FakeSandbox) offered() sandbox.Sandbox {
	if s.script.Exec != nil {
		return executing{s}
	}
	return s
}

// ID is the id of the spec.
func (s *FakeSandbox) ID() sandbox.ID { return s.Spec.ID }

// Labels are a copy of the labels of the spec.
func (s *FakeSandbox) Labels() map[string]string { return maps.Clone(s.Spec.Labels) }

// Dial connects through memory, whatever the port.
func (s *FakeSandbox) Dial(ctx context.Context, port int) (net.Conn, error) {
	s.mu.Lock()
	listening, stopped, err := s.listening, s.stopped, s.dialError
	s.mu.Unlock()
	switch {
	case stopped:
		return nil, &net.OpError{Op: "dial", Net: "fake", Err: net.ErrClosed}
	case err != nil:
		return nil, err
	case !listening:
		return nil, &net.OpError{Op: "dial", Net: "fake", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return s.listener.dial(ctx)
}

// Stats are constant: one task with 1 MiB.
func (s *FakeSandbox) Stats(context.Context) (sandbox.Stats, error) {
	if s.exited() {
		return sandbox.Stats{}, nil
	}
	return sandbox.Stats{CPU: time.Millisecond, MemoryBytes: 1 << 20, Tasks: 1}, nil
}

// Done is closed when the agent exited or was killed.
func (s *FakeSandbox) Done() <-chan struct{} { return s.done }

// Exit tells how it ended.
func (s *FakeSandbox) Exit() sandbox.Exit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit
}

// Stop kills the agent, after the grace if its script ignores SIGTERM.
func (s *FakeSandbox) Stop(ctx context.Context, grace time.Duration) error {
	s.stopping.Lock()
	defer s.stopping.Unlock()
	code := 128 + int(syscall.SIGTERM)
	if grace <= 0 || s.script.IgnoreTerm {
		code = 128 + int(syscall.SIGKILL)
	}
	if s.script.IgnoreTerm && grace > 0 && !s.exited() {
		ctx, cancel := context.WithTimeout(ctx, grace)
		select {
		case <-ctx.Done():
		case <-s.done:
		}
		cancel()
	}
	s.end(sandbox.Exit{Code: code, Reason: sandbox.ExitedKilled})
	s.mu.Lock()
	err := s.stopError
	s.stopped = s.stopped || err == nil
	s.mu.Unlock()
	if err != nil {
		return err
	}
	<-s.served
	s.driver.remove(s)
	return nil
}

// ExitWith ends the agent by itself with the code; its connections break.
func (s *FakeSandbox) ExitWith(code int) {
	s.end(sandbox.Exit{Code: code, Reason: sandbox.ExitedItself})
}

// RunOutOfMemory ends the agent as a memory limit does.
func (s *FakeSandbox) RunOutOfMemory() {
	s.end(sandbox.Exit{Code: 137, Reason: sandbox.ExitedNoMemory})
}

// SetPing changes what GET /ping answers from now on.
func (s *FakeSandbox) SetPing(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pingStatus, s.pingBody = status, body
}

// Pings counts the GET /ping so far.
func (s *FakeSandbox) Pings() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pings
}

// SetDialError makes every further Dial fail with err; nil heals.
func (s *FakeSandbox) SetDialError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialError = err
}

// SetStopError makes Stop fail with err; nil heals.
func (s *FakeSandbox) SetStopError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopError = err
}

// DropConnections breaks every open connection to the agent.
func (s *FakeSandbox) DropConnections() {
	s.mu.Lock()
	conns := maps.Clone(s.connections)
	s.mu.Unlock()
	for c := range conns {
		c.Close()
	}
}

func (s *FakeSandbox) setListening(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = on && !s.dead
}

// end kills the agent; the first call decides the exit.
func (s *FakeSandbox) end(exit sandbox.Exit) {
	s.mu.Lock()
	if s.dead {
		s.mu.Unlock()
		return
	}
	s.dead, s.listening, s.exit = true, false, exit
	for _, t := range s.timers {
		t.Stop()
	}
	s.mu.Unlock()
	s.server.Close()
	close(s.done)
}

func (s *FakeSandbox) exited() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *FakeSandbox) withPing(agent http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/ping" {
			agent.ServeHTTP(w, r)
			return
		}
		s.mu.Lock()
		s.pings++
		status, body := s.pingStatus, s.pingBody
		s.mu.Unlock()
		if s.script.OwnPing {
			agent.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func (s *FakeSandbox) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.connections[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.connections, c)
	}
}
