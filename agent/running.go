package agent

import (
	"context"
	"sync"
)

// running counts what runs, for whoever waits until nothing does. Unlike a
// sync.WaitGroup it can be waited for with a context, and told how many.
type running struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0 again; nil if nobody waits
}

func (r *running) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n += n
	if r.n == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

func (r *running) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n > 0
}

// wait returns when nothing runs, or the cause of the end of ctx.
func (r *running) wait(ctx context.Context) error {
	r.mu.Lock()
	if r.n > 0 && r.idle == nil {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
