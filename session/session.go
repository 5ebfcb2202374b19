package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// session is one session with its sandbox. run, its actor, alone moves it
// through its states; the atomics are what requests touch on their way.
type session struct {
	m           *Manager
	key         isolde.SessionKey
	version     isolde.VersionNumber
	lifecycle   isolde.Lifecycle
	port        int
	health      Health
	owner       string         // as of auth.Owner; empty: anyone may enter
	unbound     bool           // what an owner of the same id has left is its, too; see auth.Unbound
	memory      int64          // bytes that it may use
	busyTimeout isolde.Seconds // 0: none
	agent       *agent
	log         *Log

	ready    chan struct{} // closed once started, or failed with startErr
	startErr error
	box      sandbox.Sandbox // set before ready is closed
	wire     *wire           // to the agent; set before ready is closed
	ending   chan struct{}   // closed when the end begins, with end set
	life     context.Context // ends then, too
	die      context.CancelFunc
	end      end
	gone     chan struct{} // closed when the sandbox is gone and the session forgotten
	stop     stopRequest

	shells   shells
	gate     gate
	attached atomic.Int64 // open connections
	// connections are those that Connect counted, some of which are yet to open.
	connections atomic.Int64
	requests    atomic.Int64
	used        clock // when a caller last used it
	kept        clock // when its agent last kept it alive
	busy        atomic.Bool
	runaway     atomic.Bool
	user        atomic.Pointer[string] // nil until a request named one

	mu        sync.Mutex
	boxID     sandbox.ID
	startedAt time.Time
	lastError *isolde.AgentError
}

// stopRequest asks the actor to end the session; only the first reason counts.
type stopRequest struct {
	once  sync.Once
	asked chan struct{} // closed once end is set
	end   end
}

func (r *stopRequest) ask(e end) {
	r.once.Do(func() {
		r.end = e
		close(r.asked)
	})
}

// end is why a session ended.
type end struct {
	cause  isolde.EndCause
	reason string // for people: "was idle for 15m0s"
}

// clause is the reason as part of a sentence about the session.
func (e end) clause() string {
	if e.cause == isolde.EndExited {
		return e.reason // which is about the agent
	}
	return "it " + e.reason
}

func (m *Manager) newSession(key isolde.SessionKey, v isolde.VersionNumber, l isolde.Lifecycle, port int) *session {
	s := &session{
		m: m, key: key, version: v, lifecycle: l, port: port,
		log:       newLog(m.LogPath(key)),
		startedAt: time.Now(),
		ready:     make(chan struct{}),
		ending:    make(chan struct{}),
		gone:      make(chan struct{}),
		stop:      stopRequest{asked: make(chan struct{})},
	}
	s.life, s.die = context.WithCancel(context.Background())
	s.used.move(time.Now())
	return s
}

// beginEnd lets everybody who is concerned with the session know why it ends.
func (s *session) beginEnd(e end) {
	s.gate.close()
	s.end = e
	close(s.ending)
	s.die()
}

// run is the actor of a session that starts.
func (s *session) run(spec sandbox.Spec, delay time.Duration) {
	box, err := s.start(spec, delay)
	if err != nil {
		s.fail(err)
		return
	}
	s.used.move(time.Now())
	s.adopt(box)
	s.record(time.Time{})
	s.m.cfg.Metrics.SessionStarted(s.m.cfg.Driver.Name(), time.Since(s.startedAt))
	s.live()
}

// adopt makes a started sandbox the session's and lets requests in.
func (s *session) adopt(box sandbox.Sandbox) {
	s.mu.Lock()
	s.boxID = box.ID()
	s.mu.Unlock()
	s.box = box
	close(s.ready)
}

// live watches over a running session until it ends or the manager lets go.
func (s *session) live() {
	cfg := &s.m.cfg
	tick := time.NewTicker(cfg.PingInterval)
	defer tick.Stop()
	expire := time.NewTimer(time.Until(s.expiresAt()))
	defer expire.Stop()
	health := newHealth(s)
	defer health.close()

	recorded := s.lastActive()
	for {
		select {
		case <-s.box.Done():
			s.finish(end{isolde.EndExited, "its agent " + s.box.Exit().String()}, 0)
			return
		case <-s.stop.asked:
			s.finish(s.stop.end, cfg.StopGrace)
			return
		case <-expire.C:
			s.finish(end{isolde.EndLifetime, "reached its maximum lifetime of " + s.lifecycle.MaxLifetime.Duration().String()}, cfg.StopGrace)
			return
		case p := <-health.results:
			if e, must := health.judge(p); must {
				s.finish(e, cfg.StopGrace)
				return
			}
			// Here and not at the tick: an agent that has become busy is not
			// taken for idle, and one that a dead server left behind is asked first.
			if s.idleFor(p.at) >= s.lifecycle.IdleTimeout.Duration() && s.gate.closeIfEmpty() {
				s.finish(end{isolde.EndIdle, "was idle for " + s.lifecycle.IdleTimeout.Duration().String()}, cfg.StopGrace)
				return
			}
		case now := <-tick.C:
			health.ping()
			if s.gate.inside() > 0 {
				s.used.move(now) // for the record, should the server die now
			}
			if at := s.lastActive(); at.Sub(recorded) >= recordEvery {
				recorded = at
				s.record(time.Time{})
			}
			s.log.tend(now)
		case <-s.m.actors.Done():
			s.record(time.Time{})
			s.wire.close()
			return
		}
	}
}

// recordEvery bounds how often activity is written to the store, and so how
// far the idle clock can be set back by a crash of the server.
const recordEvery = 10 * time.Second

// fail ends a session that did not start.
func (s *session) fail(err error) {
	s.startErr = err
	e := isolde.AsError(err)
	s.m.cfg.Logger.Warn("session did not start", "runtime", s.key.Runtime, "session", s.key.Session, "err", err, "cause", e.Err)
	s.log.Append("session did not start: " + e.Error())
	s.log.tend(time.Now())
	s.m.cfg.Metrics.SessionEnded(isolde.EndFailed)
	s.mu.Lock()
	if s.lastError == nil {
		s.lastError = &isolde.AgentError{Time: time.Now(), Message: e.Error()}
	}
	s.mu.Unlock()
	s.beginEnd(end{isolde.EndFailed, "did not start: " + e.Message})
	s.m.forget(s, s.record(time.Now()))
	close(s.ready)
	close(s.gone)
}

// finish ends a running session: nobody is let in, requests inside are cut
// off, the sandbox is taken away.
func (s *session) finish(e end, grace time.Duration) {
	log := s.m.cfg.Logger.With("runtime", s.key.Runtime, "session", s.key.Session, "sandbox", s.box.ID())
	s.beginEnd(e)
	s.wire.close()
	if err := s.box.Stop(s.m.actors, grace); err != nil {
		log.Error("sandbox left something behind", "err", err)
	}
	s.usedStorage()
	log.Info("session ended", "reason", e.reason, "dur", time.Since(s.startedAt))
	s.log.Append("session ended: " + e.clause())
	s.log.tend(time.Now())
	s.m.cfg.Metrics.SessionEnded(e.cause)
	s.m.forget(s, s.record(time.Now()))
	close(s.gone)
}

// lastActive is when the idle clock was last set back.
func (s *session) lastActive() time.Time {
	return time.Unix(0, max(s.used.ns.Load(), s.kept.ns.Load()))
}

func (s *session) setUser(user string) {
	if user != "" && s.user.Load() == nil {
		first := user // which is on the heap, and user is not
		s.user.CompareAndSwap(nil, &first)
	}
}

// idleFor is how long the session has been idle at a time; 0 while it is active.
func (s *session) idleFor(now time.Time) time.Duration {
	if s.gate.inside() > 0 || s.busy.Load() {
		return 0
	}
	return now.Sub(s.lastActive())
}

// inUse reports whether requests or connections are in the session.
func (s *session) inUse() bool { return s.gate.inside() > 0 || s.attached.Load() > 0 }

func (s *session) expiresAt() time.Time { return s.startedAt.Add(s.lifecycle.MaxLifetime.Duration()) }

func (s *session) state() isolde.SessionState {
	switch {
	case isClosed(s.gone):
		return isolde.SessionStopped
	case isClosed(s.ending):
		return isolde.SessionStopping
	case !isClosed(s.ready):
		return isolde.SessionStarting
	case s.inUse() || s.busy.Load():
		return isolde.SessionActive
	default:
		return isolde.SessionIdle
	}
}

func (s *session) snapshot() isolde.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := isolde.Session{
		Runtime: s.key.Runtime, ID: s.key.Session, Version: s.version,
		State: s.state(), Owner: s.owner, Driver: s.m.cfg.Driver.Name(), Sandbox: string(s.boxID),
		StartedAt: s.startedAt, LastActiveAt: s.lastActive(), LastUsedAt: s.used.time(), ExpiresAt: s.expiresAt(),
		Requests: s.requests.Load(), InFlight: s.gate.inside() + int(s.attached.Load()), Busy: s.busy.Load(), Runaway: s.runaway.Load(),
		LastError: s.lastError,
	}
	if user := s.user.Load(); user != nil {
		out.User = *user
	}
	clockRuns := out.State == isolde.SessionIdle || out.State == isolde.SessionActive && s.gate.inside() == 0 && !out.Busy
	if clockRuns {
		out.IdleAt = out.LastActiveAt.Add(s.lifecycle.IdleTimeout.Duration())
	}
	return out
}

// record writes the session to the store and returns what it wrote; endedAt is
// zero while it runs.
func (s *session) record(endedAt time.Time) isolde.Session {
	r := s.snapshot()
	if !endedAt.IsZero() {
		r.State, r.Sandbox, r.IdleAt = isolde.SessionStopped, "", time.Time{}
		r.EndedAt, r.EndCause, r.EndReason = endedAt, s.end.cause, s.end.reason
	}
	// The record is kept even when the manager is letting go.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.m.cfg.Store.PutSession(ctx, r); err != nil && isolde.CodeOf(err) != isolde.CodeNotFound {
		s.m.cfg.Logger.Error("record session", "runtime", s.key.Runtime, "session", s.key.Session, "err", err)
	}
	return r
}

// agentError keeps what the agent did wrong, and puts it in the session's log.
func (s *session) agentError(e isolde.AgentError) {
	s.mu.Lock()
	s.lastError = &e
	s.mu.Unlock()
	s.log.Append("request " + e.Request + ": " + e.Message)
}

// cutOff is the error of a request whose session ended under it.
func (s *session) cutOff() error {
	return isolde.Errorf(isolde.CodeAgent, "the session ended while the request ran: %s", s.end.clause()).
		WithHint("isolde logs shows the agent's output")
}

func isClosed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
