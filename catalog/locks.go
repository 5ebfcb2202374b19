package catalog

import (
	"cmp"
	"strings"
	"sync"

	"github.com/isolde-run/isolde"
)

// locks are mutexes by name.
type locks struct {
	mu sync.Mutex
	by map[string]*lockEntry
}

type lockEntry struct {
	sync.Mutex
	users int
}

// lock locks the name and returns what unlocks it.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.by == nil {
		l.by = make(map[string]*lockEntry)
	}
	e := cmp.Or(l.by[name], &lockEntry{})
	l.by[name] = e
	e.users++
	l.mu.Unlock()
	e.Lock()
	return func() {
		e.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(l.by, name)
		}
	}
}

// lockID locks the name in an id.
func (l *locks) lockID(id isolde.RuntimeID) (unlock func()) { return l.lock(nameOf(id)) }

// nameOf is the name in an id.
func nameOf(id isolde.RuntimeID) string {
	name, _, _ := strings.Cut(string(id), "-")
	return name
}
