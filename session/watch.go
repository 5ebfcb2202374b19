package session

import (
	"github.com/isolde-run/isolde"
)

// maxUnseenEnds bounds how many ends a watcher that does not look is kept.
const maxUnseenEnds = 10_000

// Watcher sees how sessions change. It is asked, and nothing waits for it, so
// one that is slow costs nobody anything. Not safe for concurrent use.
type Watcher struct {
	m    *Manager
	seen map[isolde.SessionKey]isolde.Session

	// Guarded by the manager's mu, so that the ends of sessions and the
	// sessions that run are of one moment.
	ended []isolde.Session
	lost  bool // an end was not kept
}

// Watch begins to watch all sessions. The watcher must be closed.
func (m *Manager) Watch() *Watcher {
	w := &Watcher{m: m, seen: make(map[isolde.SessionKey]isolde.Session)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watchers == nil {
		m.watchers = make(map[*Watcher]struct{})
	}
	m.watchers[w] = struct{}{}
	return w
}

// Close ends it. Idempotent.
func (w *Watcher) Close() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	delete(w.m.watchers, w)
}

// end keeps the end of a session until it is asked for. The manager's mu is
// held.
func (w *Watcher) end(s isolde.Session) {
	if len(w.ended) == maxUnseenEnds {
		w.lost = true
		return
	}
	w.ended = append(w.ended, s)
}

// Changes returns what is new since the last call: first the sessions that
// ended, in the order of their ends, then those that came or changed, as they
// are now; at the first call, all that run. A session that changed several
// times is there once, but each of its ends is. That time passed is no change,
// nor is activity that leaves the session in its state. CodeUnavailable when
// more ended than is kept for a watcher: it must begin anew.
func (w *Watcher) Changes() ([]isolde.Session, error) {
	w.m.mu.Lock()
	out, lost := w.ended, w.lost
	w.ended = nil
	running := make([]*session, 0, len(w.m.sessions))
	for _, s := range w.m.sessions {
		running = append(running, s)
	}
	w.m.mu.Unlock()
	if lost {
		return nil, isolde.Errorf(isolde.CodeUnavailable, "more than %d sessions ended since the watcher last looked", maxUnseenEnds).
			WithHint("watch anew, and read faster")
	}
	for _, s := range out {
		delete(w.seen, s.Key())
	}
	for _, s := range running {
		now := s.snapshot()
		if now.State == isolde.SessionStopped { // since then; its end comes next time
			continue
		}
		if old, ok := w.seen[s.key]; !ok || changed(old, now) {
			w.seen[s.key] = now
			out = append(out, now)
		}
	}
	return out, nil
}

func changed(a, b isolde.Session) bool {
	return a.State != b.State || a.StartedAt != b.StartedAt || a.Requests != b.Requests || a.InFlight != b.InFlight ||
		a.Busy != b.Busy || a.Runaway != b.Runaway || a.User != b.User || a.LastError != b.LastError
}
