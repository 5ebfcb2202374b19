package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// The labels a session's sandbox carries, from which a later server takes it up.
const (
	labelRuntime = "runtime"
	labelSession = "session"
	labelVersion = "version"
	labelStarted = "started" // RFC 3339 with nanoseconds
	labelIdle    = "idle"    // seconds
	labelMax     = "max"     // seconds
	labelPort    = "port"
	labelBusy    = "busyTimeout" // seconds; absent: none
	labelHealth  = "health"      // absent: HealthPing
	labelMemory  = "memory"      // bytes; absent: those of a server that did not count them
	labelOwner   = "owner"       // absent or empty: anyone may enter
)

// start starts the session's sandbox after the delay and waits for its first
// healthy ping. When it fails nothing is left of the sandbox.
func (s *session) start(spec sandbox.Spec, delay time.Duration) (sandbox.Sandbox, error) {
	cfg := &s.m.cfg
	stopped, abandon := context.WithCancel(s.m.actors)
	defer abandon()
	go func() { // a stop request ends the start
		select {
		case <-s.stop.asked:
			abandon()
		case <-stopped.Done():
		}
	}()
	if err := s.awaitTurn(stopped, delay); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(stopped, cfg.InitTimeout, errInitTimeout)
	defer cancel()
	free := sync.OnceFunc(func() { <-s.m.starts })
	defer free()
	if err := s.log.open(); err != nil {
		return nil, err
	}
	var err error
	if spec.Volumes, err = s.volumes(spec.Volumes); err != nil {
		return nil, err
	}
	spec.ID = sandbox.NewID()
	spec.LogFile = s.log.path
	spec.Labels = map[string]string{
		labelRuntime: string(s.key.Runtime),
		labelSession: string(s.key.Session),
		labelVersion: s.version.String(),
		labelStarted: s.startedAt.Format(time.RFC3339Nano),
		labelIdle:    strconv.Itoa(int(s.lifecycle.IdleTimeout)),
		labelMax:     strconv.Itoa(int(s.lifecycle.MaxLifetime)),
		labelPort:    strconv.Itoa(s.port),
		labelHealth:  string(s.health),
		labelOwner:   s.owner,
		labelBusy:    strconv.Itoa(int(s.busyTimeout)),
		labelMemory:  strconv.FormatInt(s.memory, 10),
	}
	cfg.Logger.Debug("start sandbox", "runtime", s.key.Runtime, "session", s.key.Session, "sandbox", spec.ID)
	from := s.log.Size()
	box, err := cfg.Driver.Start(ctx, spec)
	free() // an agent that is slow to be healthy holds up nobody else
	if err != nil {
		if ctx.Err() != nil {
			return nil, s.startFailed(ctx, nil, err)
		}
		return nil, err
	}
	s.wire = newWire(box, s.port)
	last := s.awaitHealthy(ctx, box)
	if last == nil {
		return box, nil
	}
	s.wire.close()
	failure := s.startFailed(ctx, box, last)
	if tail := s.log.tail(from, 16<<10); tail != "" {
		s.mu.Lock()
		s.lastError = &isolde.AgentError{Time: time.Now(), Message: isolde.AsError(failure).Message + "\n" + tail}
		s.mu.Unlock()
	}
	if err := box.Stop(s.m.actors, 0); err != nil {
		cfg.Logger.Error("sandbox left something behind", "sandbox", box.ID(), "err", err)
	}
	return nil, failure
}

// awaitTurn waits for the delay, and then for one of the places of m.starts,
// which must be given back. The session's age begins with its turn.
func (s *session) awaitTurn(ctx context.Context, delay time.Duration) error {
	turn := time.NewTimer(delay)
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-ctx.Done():
		return s.startFailed(ctx, nil, nil)
	}
	if err := s.takePlace(ctx, s.m.cfg.StartWait-delay); err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	s.startedAt = now
	s.mu.Unlock()
	s.used.move(now)
	return nil
}

// takePlace takes one of the places of m.starts, for which it waits so long at
// most.
func (s *session) takePlace(ctx context.Context, wait time.Duration) error {
	select {
	case s.m.starts <- struct{}{}: // free, even if there is no time to wait
		return nil
	default:
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case s.m.starts <- struct{}{}:
		return nil
	case <-late.C:
		return isolde.Errorf(isolde.CodeThrottled, "too many sessions start: this one waited %v for its turn", s.m.cfg.StartWait).
			WithHint("try again later; --max-new-sessions-per-second refuses such sessions at once").WithRetryAfter(s.m.cfg.StartWait / 2)
	case <-ctx.Done():
		return s.startFailed(ctx, nil, nil)
	}
}

var errInitTimeout = errors.New("initialization time exceeded")

// awaitHealthy pings until the agent is healthy, exits, or ctx ends. It
// returns the last ping's error, nil if healthy.
func (s *session) awaitHealthy(ctx context.Context, box sandbox.Sandbox) error {
	pause := 2 * time.Millisecond
	for {
		// A SYN that is sent before the sandbox's network is up is lost, and
		// TCP repeats it only after a second: give up sooner and dial again.
		// Growing, so that an agent which is slow to answer is waited for.
		attempt, cancel := context.WithTimeout(ctx, max(250*time.Millisecond, 20*pause))
		p := s.health.ping(attempt, s.wire)
		late := attempt.Err() != nil
		cancel()
		if p.err == nil {
			s.busy.Store(p.busy)
			return nil
		}
		select {
		case <-box.Done():
			return p.err
		case <-ctx.Done():
			return p.err
		case <-time.After(pause):
		}
		if pause < 25*time.Millisecond || late && pause < 250*time.Millisecond {
			pause += pause / 4
		}
	}
}

// startFailed says why a start failed: the server shuts down, somebody
// stopped the session, the agent exited, or took too long.
func (s *session) startFailed(ctx context.Context, box sandbox.Sandbox, last error) error {
	if box != nil && isDone(box) {
		return isolde.Errorf(isolde.CodeAgent, "the agent %s before it was healthy", box.Exit()).
			WithHint("isolde logs shows its output").WithCause(last)
	}
	switch {
	case context.Cause(s.m.actors) != nil:
		return errDraining()
	case errors.Is(context.Cause(ctx), errInitTimeout):
		return isolde.Errorf(isolde.CodeAgent, "Runtime initialization time exceeded. Please make sure that initialization completes in %v.", s.m.cfg.InitTimeout).
			WithHint("%s; isolde logs shows the agent's output", s.health.demand(s.port)).WithCause(last)
	case isClosed(s.stop.asked):
		return isolde.Errorf(isolde.CodeConflict, "the session was stopped while it started")
	default:
		return isolde.Errorf(isolde.CodeInternal, "start sandbox: %w", last)
	}
}

func isDone(box sandbox.Sandbox) bool {
	select {
	case <-box.Done():
		return true
	default:
		return false
	}
}

// recover takes up the sessions of an earlier server.
func (m *Manager) recover(ctx context.Context) error {
	boxes, err := m.cfg.Driver.Recover(ctx)
	if err != nil {
		return err
	}
	records, err := m.cfg.Store.Sessions(ctx, "", false, 0)
	if err != nil {
		return err
	}
	running := make(map[isolde.SessionKey]isolde.Session, len(records))
	for _, r := range records {
		if name := m.cfg.Driver.Name(); r.Driver != name { // their sandboxes would run on with nobody to end them
			return isolde.Errorf(isolde.CodeConflict, "sessions of this data directory run under the driver %s, not %s", r.Driver, name).
				WithHint("start with --driver %s, and end them (isolde session stop --all) before you change it", r.Driver)
		}
		running[r.Key()] = r
	}
	for _, box := range boxes {
		s, err := m.takeUp(ctx, box, running)
		if err != nil {
			m.cfg.Logger.Warn("stop a sandbox of no session", "sandbox", box.ID(), "err", err)
			if err := box.Stop(ctx, 0); err != nil {
				m.cfg.Logger.Error("sandbox left something behind", "sandbox", box.ID(), "err", err)
			}
			continue
		}
		delete(running, s.key)
		m.wg.Go(s.live)
		m.cfg.Logger.Info("session found again", "runtime", s.key.Runtime, "session", s.key.Session, "sandbox", box.ID())
	}
	for _, r := range running {
		r.State, r.Sandbox = isolde.SessionStopped, ""
		r.EndedAt, r.EndCause, r.EndReason = time.Now(), isolde.EndLost, "was gone when the server came back"
		if err := m.cfg.Store.PutSession(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// takeUp makes a sandbox found again the sandbox of its session. running holds
// the store's records; a server that was killed may have left none of a
// session that had just started, and the labels are enough.
func (m *Manager) takeUp(ctx context.Context, box sandbox.Sandbox, running map[isolde.SessionKey]isolde.Session) (*session, error) {
	s, err := m.fromLabels(box.Labels())
	if err != nil {
		return nil, err
	}
	r, ok := running[s.key]
	if ok {
		s.requests.Store(r.Requests)
		s.lastError = r.LastError
		s.setUser(r.User)
		s.kept.move(r.LastActiveAt)
		s.used.ns.Store(cmp.Or(r.LastUsedAt, r.LastActiveAt).UnixNano())
		s.busy.Store(r.Busy)
	}
	s.boxID = box.ID()
	if !ok || r.Sandbox != string(box.ID()) {
		if err := m.cfg.Store.PutSession(ctx, s.snapshot()); err != nil {
			return nil, err // its agent runtime was deleted
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.key] != nil {
		return nil, errors.New("its session has another")
	}
	m.enroll(s)
	s.wire = newWire(box, s.port)
	s.adopt(box)
	return s, nil
}

// fromLabels makes the session of a sandbox found again.
func (m *Manager) fromLabels(labels map[string]string) (*session, error) {
	number := func(label string) (n int, err error) {
		n, err = strconv.Atoi(labels[label])
		if err != nil {
			err = fmt.Errorf("label %s: %w", label, err)
		}
		return n, err
	}
	version, err1 := number(labelVersion)
	idle, err2 := number(labelIdle)
	maximum, err3 := number(labelMax)
	port, err4 := number(labelPort)
	started, err5 := time.Parse(time.RFC3339Nano, labels[labelStarted])
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	key := isolde.SessionKey{Runtime: isolde.RuntimeID(labels[labelRuntime]), Session: isolde.SessionID(labels[labelSession])}
	s := m.newSession(key, isolde.VersionNumber(version),
		isolde.Lifecycle{IdleTimeout: isolde.Seconds(idle), MaxLifetime: isolde.Seconds(maximum)}, port)
	s.health, s.owner = Health(labels[labelHealth]), labels[labelOwner]
	// Sandboxes of earlier servers have no label for these.
	s.memory, _ = strconv.ParseInt(labels[labelMemory], 10, 64)
	busy, _ := strconv.Atoi(labels[labelBusy])
	s.busyTimeout = isolde.Limits{BusyTimeout: isolde.Seconds(busy)}.Within(m.cfg.PerAgent).BusyTimeout
	s.startedAt = started
	return s, nil
}
