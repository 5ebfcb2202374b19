package sandboxtest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Fake is a scriptable driver whose agents are http.Handlers in this process,
// reached through memory: it works inside a testing/synctest bubble. Its
// sandboxes outlive Close, so that handing one Fake to two managers in turn
// plays a restart of the server. The zero value is ready for use. End a test
// with [Fake.StopAll], or goroutines are left behind.
type Fake struct {
	// Script says how the sandbox of a spec behaves; nil gives every sandbox
	// the zero Script. It is called once for each Start.
	Script func(spec sandbox.Spec) Script
	// Limits overrides what Capabilities returns. Nil: isolated, with a network
	// of its own, without bound.
	Limits *sandbox.Capabilities

	mu        sync.Mutex
	sandboxes map[sandbox.ID]*FakeSandbox // those that run or are not stopped yet
	starting  int
	starts    int
	maxLive   int
}

var _ sandbox.Driver = (*Fake)(nil)

// Script is the behaviour of one fake sandbox. The zero value starts at once,
// is healthy at once, echoes invocations and stops when told to.
type Script struct {
	// Agent answers everything that arrives, but GET /ping if PingStatus or
	// its default is to answer that. Nil: [Echo].
	Agent http.Handler
	// OwnPing leaves GET /ping to Agent.
	OwnPing bool

	// StartDelay is how long Start takes; it ends early with its ctx.
	StartDelay time.Duration
	// StartError, if set, is what Start returns after StartDelay.
	StartError error
	// HealthyAfter is how long after Start the agent begins to listen; dials
	// are refused before.
	HealthyAfter time.Duration
	// ExitAfter, if positive, is how long after Start the agent exits by
	// itself with ExitCode.
	ExitAfter time.Duration
	ExitCode  int
	// IgnoreTerm lets Stop wait for its whole grace before it kills.
	IgnoreTerm bool
	// Exec, if set, runs the commands of the sandbox, which is a
	// [sandbox.Execer] then.
	Exec func(ctx context.Context, cmd sandbox.Command) (exitCode int, err error)
	// StopError, if set, is what Stop returns. The agent is dead then, but the
	// sandbox counts as live. See [FakeSandbox.SetStopError].
	StopError error
}

// Echo is an agent that answers each request with its body, as the same
// content type.
var Echo http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	copyFlushing(w, r.Body)
})

// Name is "fake".
func (f *Fake) Name() string { return "fake" }

// Capabilities returns Limits, or those of an isolating driver.
func (f *Fake) Capabilities() sandbox.Capabilities {
	if f.Limits != nil {
		return *f.Limits
	}
	return sandbox.Capabilities{Isolation: "none: the agent is a handler in the test's process", Isolated: true, OwnRoot: true, OwnNetwork: true}
}

// Start follows the script of the spec.
func (f *Fake) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	var script Script
	if f.Script != nil {
		script = f.Script(spec)
	}
	if err := f.reserve(spec.ID); err != nil {
		return nil, err
	}
	err := sleep(ctx, script.StartDelay)
	if err == nil {
		err = script.StartError
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starting--
	if err != nil {
		return nil, err
	}
	s := newFakeSandbox(f, spec, script)
	if f.sandboxes == nil {
		f.sandboxes = make(map[sandbox.ID]*FakeSandbox)
	}
	f.sandboxes[spec.ID] = s
	f.maxLive = max(f.maxLive, len(f.sandboxes))
	return s.offered(), nil
}

// reserve counts a start and applies MaxSandboxes.
func (f *Fake) reserve(id sandbox.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.sandboxes[id]; taken {
		return isolde.Errorf(isolde.CodeConflict, "sandbox %s exists", id)
	}
	if limit := f.Capabilities().MaxSandboxes; limit > 0 && len(f.sandboxes)+f.starting >= limit {
		return isolde.Errorf(isolde.CodeQuota, "the fake driver runs at most %d sandboxes", limit).
			WithHint("stop a session first")
	}
	f.starting++
	f.starts++
	return nil
}

// Recover returns every sandbox whose agent runs, ordered by id, and takes
// away the dead ones.
func (f *Fake) Recover(context.Context) ([]sandbox.Sandbox, error) {
	var running []sandbox.Sandbox
	for _, s := range f.Sandboxes() {
		if s.exited() {
			f.remove(s)
			continue
		}
		running = append(running, s.offered())
	}
	return running, nil
}

// Close does nothing: sandboxes go on.
func (f *Fake) Close() error { return nil }

// Sandboxes returns what is not stopped yet, ordered by id.
func (f *Fake) Sandboxes() []*FakeSandbox {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*FakeSandbox, 0, len(f.sandboxes))
	for _, s := range f.sandboxes {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *FakeSandbox) int { return strings.Compare(string(a.ID()), string(b.ID())) })
	return all
}

// Sandbox finds a sandbox that is not stopped yet; nil if there is none.
func (f *Fake) Sandbox(id sandbox.ID) *FakeSandbox {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sandboxes[id]
}

// Live counts the sandboxes that are started and not stopped yet.
func (f *Fake) Live() int { return len(f.Sandboxes()) }

// MaxLive is the most that were live at once.
func (f *Fake) MaxLive() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.maxLive
}

// Starts counts the calls of Start that were within the limit, failed ones
// included.
func (f *Fake) Starts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts
}

// StopAll kills and removes every sandbox, whatever its script says.
func (f *Fake) StopAll() {
	for _, s := range f.Sandboxes() {
		s.SetStopError(nil)
		_ = s.Stop(context.Background(), 0)
	}
}

func (f *Fake) remove(s *FakeSandbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sandboxes[s.ID()] == s {
		delete(f.sandboxes, s.ID())
	}
}

// sleep waits for d, or returns the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
