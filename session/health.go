package session

import (
	"context"
	"fmt"
	"time"
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

// judge takes a ping's result and says why the session must end, if it must.
func (h *health) judge(p pong) string {
	h.pinging = false
	cfg := &h.s.m.cfg
	if p.err == nil {
		h.good, h.bad = p.at, 0
		if h.s.busy.Swap(p.busy) != p.busy || p.busy {
			h.s.touch(p.at)
		}
		if p.changed.Before(p.at) {
			h.s.touch(p.changed)
		}
		return ""
	}
	if p.answered {
		h.bad++
	}
	tolerance := cfg.UnhealthyAfter
	if h.s.inUse() {
		tolerance = cfg.StuckAfter
	}
	switch {
	case h.bad >= maxBadPongs:
		return fmt.Sprintf("is unhealthy: %d pings in a row failed, the last with: %v", h.bad, p.err)
	case p.at.Sub(h.good) >= tolerance:
		return fmt.Sprintf("is unhealthy: no ping was answered for %v: %v", tolerance, p.err)
	}
	return ""
}
