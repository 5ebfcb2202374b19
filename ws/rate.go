package ws

import "time"

// rate is how many frames a second one side may send: evenly, or up to a
// second's worth at once after a pause. Frames of either direction are
// counted apart.
type rate struct {
	due time.Time // when the frames so far are paid for, one interval each
}

// FramesPerSecond is the AgentCore limits page's bound on a connection's frames.
const FramesPerSecond = 250

// take counts a frame and says how long it is too early.
func (r *rate) take(now time.Time) time.Duration {
	const interval = time.Second / FramesPerSecond
	if r.due.Before(now) {
		r.due = now
	}
	r.due = r.due.Add(interval)
	return r.due.Sub(now) - time.Second
}
