package session

import (
	"sync/atomic"
	"time"
)

// clock is the time of the last of many things that happen at once.
type clock struct{ ns atomic.Int64 } // Unix nanoseconds

// move sets the clock to at, never backwards.
func (c *clock) move(at time.Time) {
	for {
		old := c.ns.Load()
		if at.UnixNano() <= old || c.ns.CompareAndSwap(old, at.UnixNano()) {
			return
		}
	}
}

func (c *clock) time() time.Time { return time.Unix(0, c.ns.Load()) }
