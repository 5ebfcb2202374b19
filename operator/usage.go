package operator

import (
	"context"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// The bounds of measuring the sessions of an answer.
const (
	measureAtOnce = 16
	measureTime   = 2 * time.Second
	// sampleTime lies between two measurements of CPU time, from which its
	// share of that time comes.
	sampleTime = 200 * time.Millisecond
)

// measure fills in what the sandboxes of sessions use now. What cannot be
// measured in time is left out.
func (h *Handler) measure(ctx context.Context, sessions []Session) {
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	before := h.sample(ctx, sessions)
	select {
	case <-time.After(sampleTime):
	case <-ctx.Done():
		return
	}
	now := h.sample(ctx, sessions)
	for i := range sessions {
		b, n := before[i], now[i]
		if n.at.IsZero() {
			n = b
		}
		sessions[i].CPUSeconds, sessions[i].MemoryBytes = n.CPU.Seconds(), n.MemoryBytes
		if took := n.at.Sub(b.at); !b.at.IsZero() && took > 0 {
			percent := 100 * max(0, (n.CPU-b.CPU).Seconds()) / took.Seconds()
			sessions[i].CPUPercent = &percent
		}
	}
}

// measured is a measurement; its time is zero if there is none.
type measured struct {
	sandbox.Stats
	at time.Time
}

// sample measures the sessions that run, several at once, until ctx ends.
func (h *Handler) sample(ctx context.Context, sessions []Session) []measured {
	out := make([]measured, len(sessions))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(measureAtOnce, len(sessions)) {
		wg.Go(func() {
			for i := range work {
				if st, err := h.Sessions.Stats(ctx, sessions[i].Key()); err == nil {
					out[i] = measured{st, time.Now()}
				}
			}
		})
	}
	for i, s := range sessions {
		if s.State != isolde.SessionActive && s.State != isolde.SessionIdle {
			continue
		}
		select {
		case work <- i:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	return out
}
