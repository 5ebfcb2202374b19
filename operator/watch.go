package operator

import (
	"net/http"
	"time"
)

const (
	// watchEvery is how often a watched session is looked at.
	watchEvery = 250 * time.Millisecond
	// watchStall is how long a watcher may take nothing of its answer.
	watchStall = 30 * time.Second
)

// watch streams the changes of sessions. It looks at them as often as its
// caller takes what it found, so a slow caller gets fewer changes, but each end.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) {
	q, err := h.readSessionQuery(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	q.states = nil // a session that leaves a state is what a watcher wants to know of
	watcher := h.Sessions.Watch()
	defer watcher.Close()
	out := newLineWriter(w)
	write := func(e WatchEvent) {
		_ = out.rc.SetWriteDeadline(time.Now().Add(watchStall))
		out.write(e)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		changes, err := watcher.Changes()
		if err != nil {
			write(WatchEvent{Error: errorBody(err)})
			return
		}
		for _, s := range changes {
			if q.matches(s) {
				v := view(s)
				write(WatchEvent{Session: &v})
			}
		}
		if first {
			write(WatchEvent{Synced: true})
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
