package catalog

import (
	"context"
	"iter"
	"sync"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
)

// maxSteps bounds what is kept of one build's progress.
const maxSteps = 1000

// progressLogs keep the progress of each runtime's last build.
type progressLogs struct {
	mu sync.Mutex
	by map[isolde.RuntimeID]*progressLog
}

// progressLog is the progress of one build.
type progressLog struct {
	mu      sync.Mutex
	steps   []image.Progress
	over    bool
	changed chan struct{} // closed, and replaced, at each change
}

func (l *progressLogs) begin(id isolde.RuntimeID) *progressLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = make(map[isolde.RuntimeID]*progressLog)
	}
	log := &progressLog{changed: make(chan struct{})}
	l.by[id] = log
	return log
}

// open returns the log of the build that is about to run, which whoever asked
// for it has begun, unless that was an earlier server.
func (l *progressLogs) open(id isolde.RuntimeID) *progressLog {
	if log := l.of(id); log != nil && !log.isOver() {
		return log
	}
	return l.begin(id)
}

func (l *progressLogs) of(id isolde.RuntimeID) *progressLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[id]
}

func (l *progressLogs) drop(id isolde.RuntimeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.by, id)
}

func (l *progressLog) add(p image.Progress) {
	l.change(func() {
		if len(l.steps) < maxSteps {
			l.steps = append(l.steps, p)
		}
	})
}

func (l *progressLog) end() { l.change(func() { l.over = true }) }

func (l *progressLog) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *progressLog) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// after returns the steps from the nth on, whether the build is over, and what
// is closed at the next change.
func (l *progressLog) after(n int) (steps []image.Progress, over bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.steps[n:], l.over, l.changed
}

// Watch yields the steps of the last build of an agent runtime, from its first
// and as they come, until nothing is under way any more or ctx ends. A build
// that ended before this server began has none.
func (c *Catalog) Watch(ctx context.Context, id isolde.RuntimeID) iter.Seq[image.Progress] {
	return func(yield func(image.Progress) bool) {
		log := c.progress.of(id)
		for n := 0; log != nil; {
			steps, over, changed := log.after(n)
			for _, s := range steps {
				if !yield(s) {
					return
				}
			}
			if n += len(steps); over {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
		_ = c.jobs.await(ctx, id) // the caller looks at ctx
	}
}
