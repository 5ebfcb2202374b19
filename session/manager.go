// Package session keeps sessions: each has one actor, a goroutine that alone
// changes the session's state, and at most one sandbox.
//
//	Starting → Active ⇄ Idle → Stopping → Stopped
//
// [Manager.Acquire] admits a request to its session, starting it if need be;
// requests that find it starting wait, those that find it stopping wait for
// the end and start it anew. Admission to a running session does not touch
// the actor (see gate).
//
// A session ends when it was idle for its idle timeout, at its maximum
// lifetime, when its agent exits or is unhealthy, or by [Manager.Stop]. It
// does not end with the server: the next [Open] on the same driver finds it.
package session

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/telemetry"
)

// Config says how sessions run. Driver, Store and LogDir are required.
type Config struct {
	Driver sandbox.Driver
	Store  isolde.SessionStore
	LogDir string
	// StorageDir is where sessions keep files over their stops; without it one
	// that asks for volumes does not start.
	StorageDir string

	Logger  *slog.Logger
	Metrics *telemetry.Metrics // may be nil

	MaxSessions          int           // default 5,000, the active session workloads of an AgentCore account
	NewSessionsPerSecond float64       // default: no bound
	MemoryBudget         int64         // bytes of memory that sessions may be promised together; default: no bound
	PerAgent             isolde.Limits // of every agent runtime, whose own may be stricter
	// How many connections may be open, WebSockets and those of shells together;
	// defaults 10,000 and 100.
	MaxConnections        int
	MaxSessionConnections int // of each session
	// StartWait is how long a session may wait for its turn to start: for its
	// place in the limits on new sessions, and for the sandboxes that start
	// before it. Default 30 s, so that clients hear of it before they give up.
	StartWait time.Duration

	InitTimeout time.Duration // until the first healthy ping; default 120 s, AgentCore's V2 bound
	StopGrace   time.Duration // between SIGTERM and SIGKILL; default 5 s

	PingInterval time.Duration // default 2 s, AgentCore's
	PingTimeout  time.Duration // of one ping; default 5 s
	// UnhealthyAfter is how long an agent may leave pings unanswered while no
	// request runs; default 60 s. Pings answered badly end it after three.
	UnhealthyAfter time.Duration
	// StuckAfter is the same while a request runs, since an interpreter may be
	// busy with it; default 15 min, AgentCore's bound of a request.
	StuckAfter time.Duration

	// ReportBusyAfter is when a session that its agent alone keeps alive, by
	// HealthyBusy or a time_of_last_update that advances at every ping, is
	// reported as a runaway, counted from its last use by a caller; default 1 h.
	// PerAgent.BusyTimeout ends such sessions.
	ReportBusyAfter time.Duration
}

func (c *Config) setDefaults() {
	set := func(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }
	set(&c.StartWait, 30*time.Second)
	set(&c.InitTimeout, 120*time.Second)
	set(&c.StopGrace, 5*time.Second)
	set(&c.PingInterval, 2*time.Second)
	set(&c.PingTimeout, 5*time.Second)
	set(&c.UnhealthyAfter, time.Minute)
	set(&c.StuckAfter, 15*time.Minute)
	set(&c.ReportBusyAfter, time.Hour)
	c.MaxSessions = cmp.Or(c.MaxSessions, 5000)
	c.MaxConnections = cmp.Or(c.MaxConnections, 10_000)
	c.MaxSessionConnections = cmp.Or(c.MaxSessionConnections, 100)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Launch is how to start a session that has no sandbox.
type Launch struct {
	Version   isolde.VersionNumber
	Lifecycle isolde.Lifecycle
	Health    Health // how the agent is asked for its health
	Limits    isolde.Limits
	Spec      sandbox.Spec // without ID, LogFile, Labels and the Files of Volumes, which are the session's
}

// Manager keeps the sessions of a server. Safe for concurrent use.
type Manager struct {
	cfg    Config
	starts chan struct{} // bounds how many sandboxes start at once

	actors context.Context // ends when the actors are to let go of their sandboxes
	letGo  context.CancelCauseFunc
	wg     sync.WaitGroup

	draining atomic.Bool
	drain    context.Context // ends when open connections are to be closed
	closeAll context.CancelFunc
	waiting  atomic.Int64 // calls of Acquire under way

	connections atomic.Int64 // that Connect counted

	opened time.Time // of the clock of paces
	pace   pace      // of new sessions

	mu       sync.RWMutex
	sessions map[isolde.SessionKey]*session
	agents   map[isolde.RuntimeID]*agent
	promised int64 // bytes of memory that the sessions may use
	watchers map[*Watcher]struct{}
}

// Open finds the sessions that an earlier server left running and carries
// them on. Sandboxes that belong to no session any more are stopped, and
// sessions whose sandbox is gone are recorded as ended.
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	cfg.setDefaults()
	if err := os.MkdirAll(cfg.LogDir, 0o700); err != nil {
		return nil, err
	}
	m := &Manager{
		cfg:      cfg,
		starts:   make(chan struct{}, max(4, 2*runtime.NumCPU())),
		opened:   time.Now(),
		sessions: make(map[isolde.SessionKey]*session),
		agents:   make(map[isolde.RuntimeID]*agent),
	}
	m.pace.set(cfg.NewSessionsPerSecond)
	m.actors, m.letGo = context.WithCancelCause(context.Background())
	m.drain, m.closeAll = context.WithCancel(m.actors)
	if err := m.recover(ctx); err != nil {
		m.Close()
		return nil, err
	}
	m.wg.Go(m.removeOld)
	return m, nil
}

// Acquire admits a request to a session and starts the session if it has no
// sandbox; with a nil launch it enters only one that runs, and CodeNotFound is
// that it does not. The lease must be released. Errors: CodeAgent when the agent does
// not start (all callers that waited get the same one), CodeDenied when the
// session belongs to another than ctx's caller (see [auth.MayEnter]), CodeQuota at a limit
// on how much there is, CodeThrottled at one on how fast things go,
// CodeUnavailable while the server drains, ctx's cause when the
// caller gave up waiting.
func (m *Manager) Acquire(ctx context.Context, key isolde.SessionKey, launch *Launch) (*Lease, error) {
	m.waiting.Add(1)
	defer m.waiting.Add(-1)
	for {
		s, err := m.find(ctx, key, launch)
		if err != nil {
			return nil, err
		}
		if err := s.owned(ctx); err != nil {
			return nil, err
		}
		select {
		case <-s.ready:
		default:
			select {
			case <-s.ready:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if s.startErr != nil {
			return nil, s.startErr
		}
		if s.gate.enter() {
			s.requests.Add(1)
			return &Lease{s: s}, nil
		}
		select {
		case <-s.gone:
		case <-m.actors.Done():
			return nil, errDraining()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// find returns the session of the key, a new one in Starting if there is none.
func (m *Manager) find(ctx context.Context, key isolde.SessionKey, launch *Launch) (*session, error) {
	if m.draining.Load() {
		return nil, errDraining()
	}
	m.mu.RLock()
	s := m.sessions[key]
	m.mu.RUnlock()
	if s != nil {
		return s, m.throttle(s.agent, key.Runtime, launch)
	}
	if launch == nil {
		return nil, errNotRunning(key)
	}
	if err := m.ownedBefore(ctx, key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sessions[key]; s != nil {
		return s, nil
	}
	if m.draining.Load() { // again, under the lock that Close takes
		return nil, errDraining()
	}
	delay, err := m.admit(key, launch)
	if err != nil {
		return nil, err
	}
	s = m.newSession(key, launch.Version, launch.Lifecycle.WithDefaults(), launch.Spec.Ports[0])
	s.health, s.owner, s.unbound, s.memory = launch.Health, auth.Owner(ctx), auth.IsUnbound(ctx), launch.memory()
	m.enroll(s)
	s.busyTimeout = s.agent.limits.BusyTimeout
	m.wg.Go(func() { s.run(launch.Spec, delay) })
	return s, nil
}

func errDraining() error {
	return isolde.Errorf(isolde.CodeUnavailable, "the server is shutting down").WithHint("try again in a moment")
}

// Stop ends a session and returns when its sandbox is gone; requests that run
// in it are cut off. reason is a sentence after "it". CodeNotFound when it has
// no sandbox, CodeDenied when it belongs to another than ctx's caller.
func (m *Manager) Stop(ctx context.Context, key isolde.SessionKey, cause isolde.EndCause, reason string) error {
	m.mu.RLock()
	s := m.sessions[key]
	m.mu.RUnlock()
	if s == nil {
		return errNotRunning(key)
	}
	if err := s.owned(ctx); err != nil {
		return err
	}
	s.stop.ask(end{cause, reason})
	select {
	case <-s.gone:
		return nil
	case <-m.actors.Done():
		return errDraining()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func errNotRunning(key isolde.SessionKey) error {
	return isolde.Errorf(isolde.CodeNotFound, "Session not found or already terminated: %s", key.Session)
}

// StopAll ends the sessions that match and returns their keys once all of
// their sandboxes are gone.
func (m *Manager) StopAll(ctx context.Context, cause isolde.EndCause, reason string, match func(isolde.Session) bool) ([]isolde.SessionKey, error) {
	var stopped []isolde.SessionKey
	var waits []*session
	for _, s := range m.all() {
		if match(s.snapshot()) {
			s.stop.ask(end{cause, reason})
			waits = append(waits, s)
			stopped = append(stopped, s.key)
		}
	}
	for _, s := range waits {
		select {
		case <-s.gone:
		case <-ctx.Done():
			return stopped, context.Cause(ctx)
		}
	}
	return stopped, nil
}

// Session is the state of a session that has a sandbox; CodeNotFound if it
// has none.
func (m *Manager) Session(key isolde.SessionKey) (isolde.Session, error) {
	m.mu.RLock()
	s := m.sessions[key]
	m.mu.RUnlock()
	if s == nil {
		return isolde.Session{}, errNotRunning(key)
	}
	return s.snapshot(), nil
}

// Sessions lists the sessions that have a sandbox, oldest first.
func (m *Manager) Sessions() []isolde.Session {
	all := m.all()
	out := make([]isolde.Session, len(all))
	for i, s := range all {
		out[i] = s.snapshot()
	}
	slices.SortFunc(out, func(a, b isolde.Session) int { return a.StartedAt.Compare(b.StartedAt) })
	return out
}

// Count counts the sessions that have a sandbox.
func (m *Manager) Count() map[telemetry.SessionGroup]int {
	n := make(map[telemetry.SessionGroup]int)
	for _, s := range m.all() {
		n[telemetry.SessionGroup{Runtime: s.key.Runtime, State: s.state()}]++
	}
	return n
}

// Stats measures a session's sandbox.
func (m *Manager) Stats(ctx context.Context, key isolde.SessionKey) (sandbox.Stats, error) {
	m.mu.RLock()
	s := m.sessions[key]
	m.mu.RUnlock()
	if s == nil {
		return sandbox.Stats{}, errNotRunning(key)
	}
	select {
	case <-s.ready:
	default:
		return sandbox.Stats{}, nil
	}
	if s.startErr != nil {
		return sandbox.Stats{}, errNotRunning(key)
	}
	return s.box.Stats(ctx)
}

// Drain refuses requests from now on, has open connections closed, and waits
// until they are, and until the requests that were admitted, or wait for their
// session's start, are done, or ctx ends.
func (m *Manager) Drain(ctx context.Context) error {
	m.draining.Store(true)
	m.closeAll()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if m.waiting.Load() == 0 && !slices.ContainsFunc(m.all(), (*session).inUse) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close lets go of the sessions: their sandboxes go on, to be found by the
// next Open; sessions that are starting end. Idempotent.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.draining.Store(true) // no actor starts after this
	m.mu.Unlock()
	m.letGo(errDraining())
	m.closeAll()
	m.wg.Wait()
	return nil
}

func (m *Manager) all() []*session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*session, 0, len(m.sessions))
	for _, s := range m.sessions {
		out = append(out, s)
	}
	return out
}

// forget takes out a session that is gone; last is its record.
func (m *Manager) forget(s *session, last isolde.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.key] == s {
		m.discharge(s)
	}
	for w := range m.watchers {
		w.end(last)
	}
}
