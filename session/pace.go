package session

import (
	"sync/atomic"
	"time"
)

// pace bounds how often something happens: evenly so often a second, and
// after a rest as often at once as a second allows, but at least once. The
// zero value bounds nothing. It is on the path of every invocation: no lock,
// no timer, one word that says when the next one is due (the generic cell
// rate algorithm). Safe for concurrent use.
type pace struct {
	interval atomic.Int64 // nanoseconds between two; 0: no bound
	next     atomic.Int64 // when the next is due without the credit of a rest, in nanoseconds of the manager's clock
}

// set changes the bound; 0 is none.
func (p *pace) set(perSecond float64) {
	var interval time.Duration
	if perSecond > 0 {
		interval = max(1, time.Duration(float64(time.Second)/perSecond))
	}
	p.interval.Store(int64(interval))
}

// perSecond is the bound.
func (p *pace) perSecond() float64 { return float64(time.Second) / float64(p.interval.Load()) }

// take takes the next turn, unless that is further away than wait. delay is
// how long to wait for it, or, when ok is false, until it is worth asking
// again.
func (p *pace) take(clock func() time.Duration, wait time.Duration) (delay time.Duration, ok bool) {
	interval := time.Duration(p.interval.Load())
	if interval == 0 {
		return 0, true
	}
	now := clock()
	credit := max(0, time.Second-interval)
	for {
		next := p.next.Load()
		due := max(time.Duration(next), now)
		if delay = max(0, due-credit-now); delay > wait {
			return delay - wait, false
		}
		if p.next.CompareAndSwap(next, int64(due+interval)) {
			return delay, true
		}
	}
}

// rested reports whether a pace that is forgotten now is none the looser.
func (p *pace) rested(now time.Duration) bool {
	return p.next.Load() <= int64(now)
}
