package session

import (
	"context"
	"fmt"
	"time"

	"github.com/isolde-run/isolde"
)

// pong is the result of one ping.
type pong struct {
	at       time.Time
	answered bool // an HTTP answer came, good or bad
	err      error
	status   int    // of the answer; 0 if there is none
	body     []byte // of the answer, as far as it was read
	busy     bool
	changed  time.Time // time_of_last_update; zero if the agent leaves it out
}

// maxBadPongs is how many bad answers in a row end a session.
const maxBadPongs = 3

// health pings a session's agent and judges the answers. Its methods are the
// actor's; only the pings themselves run beside it, one at a time.
type health struct {
	s       *session
	results chan pong
	ctx     context.Context
	cancel  context.CancelFunc
	pinging bool
	good    time.Time // last good answer
	bad     int       // bad answers since
	changed time.Time // what the agent last gave as the time of its status; zero: nothing yet
}

func newHealth(s *session) *health {
	h := &health{s: s, results: make(chan pong, 1), good: time.Now()}
	h.ctx, h.cancel = context.WithCancel(s.m.actors)
	return h
}

// close ends a ping that runs.
func (h *health) close() {
	h.cancel()
	if h.pinging {
		<-h.results
	}
}

// ping asks the agent unless an earlier ping still waits; its result arrives
// on results.
func (h *health) ping() {
	if h.pinging {
		return
	}
	h.pinging = true
	go func() {
		ctx, cancel := context.WithTimeout(h.ctx, h.s.m.cfg.PingTimeout)
		defer cancel()
		h.results <- h.s.health.ping(ctx, h.s.wire)
	}()
}

// judge takes a ping's result and says how the session must end, if it must.
func (h *health) judge(p pong) (e end, must bool) {
	h.pinging = false
	if p.err == nil {
		h.good, h.bad = p.at, 0
		return h.guard(h.heed(p), p.at)
	}
	if p.answered {
		h.bad++
	}
	tolerance := h.s.m.cfg.UnhealthyAfter
	if h.s.inUse() || h.s.busy.Load() { // an interpreter may be busy with it
		tolerance = h.s.m.cfg.StuckAfter
	}
	switch {
	case h.bad >= maxBadPongs:
		return end{isolde.EndUnhealthy, fmt.Sprintf("is unhealthy: %d pings in a row failed, the last with: %v", h.bad, p.err)}, true
	case p.at.Sub(h.good) >= tolerance:
		return end{isolde.EndUnhealthy, fmt.Sprintf("is unhealthy: no ping was answered for %v: %v", tolerance, p.err)}, true
	}
	return end{}, false
}

// heed moves the idle clock by what a healthy agent says, and reports whether
// the agent keeps the session alive. By the contract that is so while it is
// busy and whenever its status changes, which it tells by the time of the last
// change, or leaves to us to see.
func (h *health) heed(p pong) (kept bool) {
	was := h.s.busy.Swap(p.busy)
	switch before := h.changed; {
	case p.busy || was:
		h.s.kept.move(p.at)
		kept = p.busy
	case before.IsZero():
		if p.changed.Before(p.at) { // or its clock is wrong
			h.s.kept.move(p.changed)
		}
	case p.changed.After(before): // since the last ping, whatever its clock says
		h.s.kept.move(p.at)
		kept = true
	}
	h.changed = p.changed
	return kept
}

// guard looks for runaways: sessions that nobody uses and that their agent
// keeps alive. It reports one once, and ends it where that is configured.
func (h *health) guard(kept bool, now time.Time) (e end, must bool) {
	alone := now.Sub(h.s.used.time())
	runaway := kept && alone >= h.s.m.cfg.ReportBusyAfter
	if h.s.runaway.Swap(runaway) != runaway && runaway {
		h.s.m.cfg.Logger.Warn("session is kept alive by its agent alone", "runtime", h.s.key.Runtime, "session", h.s.key.Session, "dur", alone)
		h.s.log.Append(fmt.Sprintf("nobody used this session for %v: its agent keeps it alive, by its answers to GET /ping", alone.Round(time.Second)))
	}
	if limit := h.s.busyTimeout.Duration(); kept && limit > 0 && alone >= limit {
		return end{isolde.EndRunaway, fmt.Sprintf("was kept alive by its agent alone for %v, the most it may be (busyTimeout)", limit)}, true
	}
	return end{}, false
}
