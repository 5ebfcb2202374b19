package image

import (
	"context"
	"errors"
	"sync"
)

// flights runs work of one key once for all who ask for it meanwhile. The
// work goes on as long as anybody waits for it.
type flights struct {
	mu     sync.Mutex
	flying map[string]*flight
}

type flight struct {
	done    chan struct{}
	layer   layer
	err     error
	waiting int
	cancel  context.CancelCauseFunc
}

var errNobodyWaits = errors.New("nobody waits for this build any more")

// do runs work, or waits for the one that runs already. joined tells which.
func (f *flights) do(ctx context.Context, key string, work func(context.Context) (layer, error)) (l layer, joined bool, err error) {
	f.mu.Lock()
	fl := f.flying[key]
	if joined = fl != nil; joined {
		fl.waiting++
	} else {
		fl = f.start(ctx, key, work)
	}
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.layer, joined, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel(errNobodyWaits)
		// Who comes now must not be handed the cancelled flight.
		if f.flying[key] == fl {
			delete(f.flying, key)
		}
		f.mu.Unlock()
		<-fl.done
		return layer{}, joined, context.Cause(ctx)
	}
	f.mu.Unlock()
	return layer{}, joined, context.Cause(ctx)
}

// start begins a flight; f.mu is taken. Its goroutine ends when the work does,
// and the last who waits does not leave before.
func (f *flights) start(ctx context.Context, key string, work func(context.Context) (layer, error)) *flight {
	if f.flying == nil {
		f.flying = map[string]*flight{}
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	fl := &flight{done: make(chan struct{}), waiting: 1, cancel: cancel}
	f.flying[key] = fl
	go func() {
		fl.layer, fl.err = work(ctx)
		f.mu.Lock()
		if f.flying[key] == fl {
			delete(f.flying, key)
		}
		f.mu.Unlock()
		cancel(nil)
		close(fl.done)
	}()
	return fl
}
