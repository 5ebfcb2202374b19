package agent

import (
	"context"
	"sync"
	"time"
)

// frozen is how far the clocks must have run apart to tell that the process
// stood still. A step of the wall clock by NTP is smaller as a rule; if it is
// not, OnRestore runs once too often.
const frozen = 5 * time.Second

// restore remembers whether OnRestore has to run.
type restore struct {
	mu   sync.Mutex
	done bool
	gap  time.Duration // between the clocks when it ran
	once sync.Once
	from time.Time
}

// restored runs OnRestore if this is the first call, or if the process was
// frozen since the last: then the wall clock went on, and the monotonic clock,
// which belongs to the process's machine, did not.
func (a *App) restored(ctx context.Context) error {
	if a.OnRestore == nil {
		return nil
	}
	r := &a.restore
	r.mu.Lock()
	defer r.mu.Unlock()
	gap := r.clockGap(time.Now())
	if r.done && gap-r.gap < frozen {
		r.gap = gap // small steps do not add up
		return nil
	}
	if err := protected(ctx, a.OnRestore); err != nil {
		return err
	}
	r.done, r.gap = true, gap
	return nil
}

// clockGap is by how much the wall clock ran ahead of the monotonic one since
// the first call.
func (r *restore) clockGap(now time.Time) time.Duration {
	r.once.Do(func() { r.from = now })
	return now.Round(0).Sub(r.from.Round(0)) - now.Sub(r.from)
}
