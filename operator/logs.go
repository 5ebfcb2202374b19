package operator

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/session"
)

// defaultTail is how many lines of each session the log stream begins with.
const defaultTail = 200

// discoverEvery is how often a followed stream looks for new sessions.
const discoverEvery = 250 * time.Millisecond

// logs streams the output of agents, session by session in the order of
// their start; with follow, of all of them as it comes, new sessions included.
func (h *Handler) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	tail := defaultTail
	if s := q.Get("tail"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			writeError(w, isolde.Errorf(isolde.CodeInvalid, "tail %q is not a number", s))
			return
		}
		tail = n
	}
	id, err := h.agentFilter(r)
	if err != nil {
		writeError(w, err)
		return
	}
	st := &logStream{
		h: h, out: newLineWriter(w), id: id, session: isolde.SessionID(q.Get("session")),
		follow: q.Get("follow") == "true", seen: make(map[isolde.SessionKey]bool),
	}
	found, err := st.discover(r, true)
	if err == nil && len(found) == 0 && st.session != "" && !st.follow {
		err = isolde.Errorf(isolde.CodeNotFound, "no session %q", st.session).WithHint("isolde session ls --all lists them")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	_ = st.out.rc.Flush() // so that a follower knows it is connected
	for _, key := range found {
		st.stream(r.Context(), key, tail)
	}
	if !st.follow {
		return
	}
	defer st.wg.Wait()
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		fresh, err := st.discover(r, false)
		if err != nil {
			return
		}
		for _, key := range fresh {
			st.stream(r.Context(), key, -1)
		}
	}
}

// logStream is one caller's view of the logs.
type logStream struct {
	h       *Handler
	id      isolde.RuntimeID // empty: all
	session isolde.SessionID // empty: all
	follow  bool
	seen    map[isolde.SessionKey]bool
	wg      sync.WaitGroup

	mu  sync.Mutex
	out *lineWriter
}

// discover returns the sessions not seen before, oldest first.
func (st *logStream) discover(r *http.Request, ended bool) ([]isolde.SessionKey, error) {
	list, err := st.h.list(r, st.id, ended)
	if err != nil {
		return nil, err
	}
	var fresh []isolde.SessionKey
	for _, s := range slices.Backward(list) {
		key := s.Key()
		if st.seen[key] || st.session != "" && key.Session != st.session {
			continue
		}
		fresh = append(fresh, key)
	}
	return fresh, nil
}

// stream sends a session's log from its last tail lines on; beside the
// caller if it is followed, else to its end.
func (st *logStream) stream(ctx context.Context, key isolde.SessionKey, tail int) {
	log, err := st.h.Sessions.OpenLog(key)
	if err != nil {
		return // it has none yet; a follower comes back
	}
	st.seen[key] = true
	if err := log.SeekTail(tail); err != nil {
		log.Close()
		return
	}
	if !st.follow {
		st.copy(ctx, key, log)
		return
	}
	st.wg.Go(func() { st.copy(ctx, key, log) })
}

func (st *logStream) copy(ctx context.Context, key isolde.SessionKey, log *session.LogReader) {
	defer log.Close()
	name, _, _ := strings.Cut(string(key.Runtime), "-")
	for {
		line, err := log.Next(ctx, st.follow)
		if err != nil {
			return
		}
		st.mu.Lock()
		st.out.write(LogLine{Agent: name, Session: key.Session, Line: line})
		st.mu.Unlock()
	}
}
