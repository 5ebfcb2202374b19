package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/isolde-run/isolde"
)

// model is what the machine is compared with: the rules of sessions as a
// simulation of discrete events, without goroutines, locks and connections.
// Every event has an instant of its own (see machine), so what it says is exact.
type model struct {
	idle, lifetime time.Duration
	busyTimeout    time.Duration
	start          startMode // of sandboxes from now on, as is
	stubborn       bool
	draining       bool

	now      time.Time
	sessions map[isolde.SessionKey]*modelSession
}

// startMode is how a sandbox starts.
type startMode int

const (
	startsWell startMode = iota
	startsSlowly
	startFails   // the driver says no
	startExits   // the agent ends before it is healthy
	startModes   // how many there are
	startDelay   = 1001 * time.Millisecond
	slowDelay    = 7001 * time.Millisecond
	exitDelay    = 2001 * time.Millisecond
	pingInterval = 2 * time.Second
	pingTimeout  = 5 * time.Second
	stopGrace    = 5 * time.Second
)

// mood is what an agent answers to pings.
type mood int32

const (
	healthy mood = iota
	busy
	unhealthy
	silent
	moods // how many there are
)

type modelSession struct {
	mode     startMode
	stubborn bool // its agent ignores SIGTERM
	started  time.Time
	begins   time.Time  // when the start is over; zero once it is
	gone     time.Time  // when its end is over; zero: it has not begun
	waiting  []*request // for the start, or for the end
	inside   []*request

	mood       mood
	saysBusy   bool // at its last answer
	used, kept time.Time
	requests   int64
	uncounted  bool // a server was killed that may not have written how many
	tick       time.Time
	pong       time.Time // when the ping that runs is over; zero: none runs
	good       time.Time
	bad        int

	recorded time.Time // the activity that was recorded last
	record   isolde.Session
}

// request is one invocation, and what must come of it.
type request struct {
	key   isolde.SessionKey
	takes time.Duration
	ends  time.Time
	want  outcome
	got   chan outcome
}

// outcome is what a caller hears: nothing yet, an answer, or an error.
type outcome struct {
	code   isolde.Code // "ok": served
	reason string      // in the error's message
}

var (
	served = outcome{code: "ok"}
	cut    = outcome{code: "cut"} // with its server: an error of some kind, at some time
)

func (s *modelSession) lastActive() time.Time {
	if s.kept.After(s.used) {
		return s.kept
	}
	return s.used
}

// invoke is a request that arrives now.
func (m *model) invoke(r *request) {
	s := m.sessions[r.key]
	if s == nil {
		s = &modelSession{mode: m.start, stubborn: m.stubborn, started: m.now, used: m.now}
		delay := map[startMode]time.Duration{startsWell: startDelay, startsSlowly: slowDelay, startFails: startDelay, startExits: exitDelay}
		s.begins = m.now.Add(delay[s.mode])
		m.sessions[r.key] = s
	}
	if s.runs() {
		m.enter(s, r)
	} else {
		s.waiting = append(s.waiting, r)
	}
}

// runs says whether requests may enter.
func (s *modelSession) runs() bool { return s.begins.IsZero() && s.gone.IsZero() }

func (m *model) enter(s *modelSession, r *request) {
	r.ends = m.now.Add(r.takes)
	s.inside = append(s.inside, r)
	s.requests++
}

// started is the end of a start, well or not.
func (m *model) begin(key isolde.SessionKey, s *modelSession) {
	switch s.mode {
	case startFails:
		m.end(key, s, outcome{isolde.CodeQuota, "no room"})
		return
	case startExits:
		m.end(key, s, outcome{isolde.CodeAgent, "exited with code 3 before it was healthy"})
		return
	}
	s.begins, s.used = time.Time{}, m.now
	for _, r := range s.waiting {
		m.enter(s, r)
	}
	s.waiting = nil
	s.record = isolde.Session{LastUsedAt: s.used, LastActiveAt: s.used}
	m.watch(s)
}

// watch is a server that begins to look after a session.
func (m *model) watch(s *modelSession) {
	s.tick, s.pong = m.now.Add(pingInterval), time.Time{}
	s.good, s.bad = m.now, 0
	s.recorded = s.lastActive()
}

// end begins a session's end; those in it and those that wait hear why.
func (m *model) end(key isolde.SessionKey, s *modelSession, why outcome) {
	if len(s.inside) > 0 {
		s.used = m.now
	}
	for _, r := range slices.Concat(s.waiting, s.inside) {
		r.want = why
	}
	s.waiting, s.inside = nil, nil
	if s.stubborn && s.begins.IsZero() {
		s.gone = m.now.Add(stopGrace)
		return
	}
	delete(m.sessions, key)
}

// remove is the end of a session's end: who waits for it starts it anew.
func (m *model) remove(key isolde.SessionKey, s *modelSession) {
	delete(m.sessions, key)
	for _, r := range s.waiting {
		if m.draining {
			r.want = outcome{isolde.CodeUnavailable, "shutting down"}
		} else {
			m.invoke(r)
		}
	}
}

// exit is that the agent ends by itself.
func (m *model) exit(key isolde.SessionKey, s *modelSession) {
	if s.stubborn = false; s.gone.IsZero() {
		m.end(key, s, outcome{isolde.CodeAgent, "exited with code 7"})
	} else {
		m.remove(key, s)
	}
}

// stop is Manager.Stop.
func (m *model) stop(key isolde.SessionKey) (found bool) {
	s := m.sessions[key]
	if s == nil {
		return false
	}
	if !s.gone.IsZero() {
		return true
	}
	if s.begins.IsZero() {
		m.end(key, s, outcome{isolde.CodeAgent, "was stopped by a test"})
	} else {
		m.end(key, s, outcome{isolde.CodeConflict, "stopped while it started"})
	}
	return true
}

// advance lets time pass.
func (m *model) advance(to time.Time) {
	for {
		at, happen := to, func() {}
		consider := func(t time.Time, f func()) {
			if !t.IsZero() && t.Before(at) {
				at, happen = t, f
			}
		}
		for key, s := range m.sessions {
			consider(s.begins, func() { m.begin(key, s) })
			consider(s.gone, func() { m.remove(key, s) })
			if !s.runs() {
				continue
			}
			for _, r := range s.inside {
				consider(r.ends, func() { m.finish(s, r) })
			}
			consider(s.tick, func() { m.ticks(key, s) })
			consider(s.pong, func() { m.answered(key, s, silent) })
			consider(s.started.Add(m.lifetime), func() {
				m.end(key, s, outcome{isolde.CodeAgent, "maximum lifetime"})
			})
		}
		if at.After(m.now) {
			m.now = at
		}
		if at.Equal(to) {
			return
		}
		happen()
	}
}

func (m *model) finish(s *modelSession, r *request) {
	r.want = served
	s.inside = slices.DeleteFunc(s.inside, func(o *request) bool { return o == r })
	s.used = m.now
}

func (m *model) ticks(key isolde.SessionKey, s *modelSession) {
	s.tick = m.now.Add(pingInterval)
	if len(s.inside) > 0 {
		s.used = m.now
	}
	if s.lastActive().Sub(s.recorded) >= recordEvery {
		s.recorded = s.lastActive()
		s.write()
	}
	switch {
	case !s.pong.IsZero():
	case s.mood == silent:
		s.pong = m.now.Add(pingTimeout)
	default:
		m.answered(key, s, s.mood)
	}
}

// write is what a later server will know of the session.
func (s *modelSession) write() {
	s.record = isolde.Session{LastUsedAt: s.used, LastActiveAt: s.lastActive(), Busy: s.saysBusy, Requests: s.requests}
}

func (m *model) answered(key isolde.SessionKey, s *modelSession, how mood) {
	s.pong = time.Time{}
	end := func(reason string) { m.end(key, s, outcome{isolde.CodeAgent, reason}) }
	switch how {
	case healthy, busy:
		s.good, s.bad = m.now, 0
		if s.saysBusy || how == busy {
			s.kept = m.now
		}
		s.saysBusy = how == busy
		if s.saysBusy && m.busyTimeout > 0 && m.now.Sub(s.used) >= m.busyTimeout {
			end("kept alive by its agent alone")
			return
		}
	case unhealthy:
		if s.bad++; s.bad == 3 {
			end("3 pings in a row failed")
			return
		}
	}
	tolerance := time.Minute
	if len(s.inside) > 0 || s.saysBusy {
		tolerance = 15 * time.Minute
	}
	if how > busy && m.now.Sub(s.good) >= tolerance {
		end("no ping was answered")
		return
	}
	if len(s.inside) == 0 && !s.saysBusy && m.now.Sub(s.lastActive()) >= m.idle {
		end("was idle")
	}
}

// lose is the end of a server: requests are cut off, sandboxes go on. One that
// is killed forgets what it had not written.
func (m *model) lose(killed bool) {
	for key, s := range m.sessions {
		if !s.runs() {
			s.stubborn = false // it is killed
			m.end(key, s, cut)
			continue
		}
		for _, r := range s.inside {
			r.want = cut
		}
		s.inside = nil
		if s.uncounted = s.uncounted || killed; !killed {
			s.write()
		}
	}
}

// find is the next server.
func (m *model) find() {
	for _, s := range m.sessions {
		s.used, s.kept = s.record.LastUsedAt, s.record.LastActiveAt
		s.saysBusy, s.requests = s.record.Busy, s.record.Requests
		m.watch(s)
	}
}

// state is what a session looks like now.
func (s *modelSession) state() isolde.SessionState {
	switch {
	case !s.begins.IsZero():
		return isolde.SessionStarting
	case !s.gone.IsZero():
		return isolde.SessionStopping
	case len(s.inside) > 0 || s.saysBusy:
		return isolde.SessionActive
	default:
		return isolde.SessionIdle
	}
}

// sandboxes counts those that the driver has.
func (m *model) sandboxes() (n int) {
	for _, s := range m.sessions {
		if s.begins.IsZero() || s.mode == startExits {
			n++
		}
	}
	return n
}

func byAge(a, b isolde.Session) int { return cmp.Compare(a.ID, b.ID) }
