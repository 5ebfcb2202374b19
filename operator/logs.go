package operator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/session"
)

const (
	// defaultTail is how many lines of each session the log stream begins with.
	defaultTail = 200
	// maxEndedLogs is how many ended sessions, the newest, a log stream shows
	// besides those that run.
	maxEndedLogs = 50
	// discoverEvery is how often a followed stream looks for new sessions.
	discoverEvery = 250 * time.Millisecond
	// pollEvery is how often a followed log is read.
	pollEvery = 100 * time.Millisecond
)

// logs streams the output of agents, session by session in the order of
// their start; with follow, of all of them as it comes, new sessions included.
func (h *Handler) logs(w http.ResponseWriter, r *http.Request) {
	st, err := h.readLogQuery(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	st.out = newLineWriter(w)
	found, err := st.discover(r)
	if err == nil && len(found) == 0 && st.session != "" && !st.follow {
		err = isolde.Errorf(isolde.CodeNotFound, "no session %q", st.session).WithHint("isolde session ls --all lists them")
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	began := time.Now()
	_ = st.out.rc.Flush() // so that a follower knows it is connected
	defer st.wg.Wait()
	st.stream(r.Context(), found, st.tail)
	if !st.follow {
		return
	}
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		if found, err = st.discover(r); err != nil {
			return
		}
		found = slices.DeleteFunc(found, func(s isolde.Session) bool { return s.State == isolde.SessionStopped && s.EndedAt.Before(began) })
		st.stream(r.Context(), found, -1)
	}
}

func (h *Handler) readLogQuery(r *http.Request) (*logStream, error) {
	q := r.URL.Query()
	id, err := h.agentFilter(r)
	if err != nil {
		return nil, err
	}
	st := &logStream{
		h: h, id: id, session: isolde.SessionID(q.Get("session")), request: q.Get("request"),
		follow: q.Get("follow") == "true", tail: defaultTail, logs: make(map[isolde.SessionKey]*logState),
	}
	if s := q.Get("since"); s != "" {
		if st.since, err = time.Parse(time.RFC3339, s); err != nil {
			return nil, isolde.Errorf(isolde.CodeInvalid, "since %q is not a time of RFC 3339", s).WithHint("for example 2026-11-22T18:30:00Z")
		}
	}
	if !st.since.IsZero() || st.request != "" {
		st.tail = -1
	}
	if s := q.Get("tail"); s != "" {
		if st.tail, err = strconv.Atoi(s); err != nil {
			return nil, isolde.Errorf(isolde.CodeInvalid, "tail %q is not a number", s)
		}
		if !st.since.IsZero() {
			return nil, isolde.Errorf(isolde.CodeInvalid, "since and tail were both given").WithHint("leave one of them out")
		}
	}
	return st, nil
}

// logStream is one caller's view of the logs.
type logStream struct {
	h       *Handler
	id      isolde.RuntimeID // empty: all
	session isolde.SessionID // empty: all
	request string           // empty: all
	since   time.Time        // zero: tail counts
	tail    int
	follow  bool
	wg      sync.WaitGroup

	mu   sync.Mutex
	out  *lineWriter
	logs map[isolde.SessionKey]*logState
}

// logState is how far a session's log was sent.
type logState struct {
	reading bool  // a goroutine sends it
	offset  int64 // where to go on when the session, ended and sent, starts anew
}

// discover returns the sessions to show, oldest first: those that run, and
// the newest that ended.
func (st *logStream) discover(r *http.Request) ([]isolde.Session, error) {
	if st.session != "" {
		return st.h.byID(r, st.id, st.session)
	}
	q := sessionQuery{runtime: st.id}
	ended, err := st.h.ended(r.Context(), q, maxEndedLogs)
	if err != nil {
		return nil, err
	}
	list := append(st.h.running(q), ended...)
	slices.SortFunc(list, func(a, b isolde.Session) int { return a.StartedAt.Compare(b.StartedAt) })
	return list, nil
}

// stream sends what the sessions' logs hold that was not sent before: from
// the last tail lines on of a log that is new here. Logs of running sessions
// are followed beside the caller, if it follows.
func (st *logStream) stream(ctx context.Context, sessions []isolde.Session, tail int) {
	for _, s := range sessions {
		key := s.Key()
		st.mu.Lock()
		state := st.logs[key]
		known := state != nil
		if !known {
			state = &logState{}
			st.logs[key] = state
		}
		skip := state.reading || known && s.State == isolde.SessionStopped
		offset := state.offset
		st.mu.Unlock()
		if skip {
			continue
		}
		log, err := st.h.Sessions.OpenLog(key)
		if err != nil { // it has none yet; a follower comes back
			st.mu.Lock()
			delete(st.logs, key)
			st.mu.Unlock()
			continue
		}
		switch {
		case known:
			log.SeekTo(offset)
		case !st.since.IsZero():
			err = log.SeekSince(st.since)
		default:
			err = log.SeekTail(tail)
		}
		if err != nil {
			log.Close()
			continue
		}
		if !st.follow {
			st.send(ctx, key, log)
			continue
		}
		st.mu.Lock()
		state.reading = true
		st.mu.Unlock()
		st.wg.Go(func() { st.send(ctx, key, log) })
	}
}

// send sends a log to its end, or, if it is followed, until its session has
// ended.
func (st *logStream) send(ctx context.Context, key isolde.SessionKey, log *session.LogReader) {
	defer log.Close()
	name := agentName(key.Runtime)
	wanted := newRequestFilter(log, st.request)
	for ctx.Err() == nil {
		// Asked before the log is read: what an ended session wrote is all there.
		_, err := st.h.Sessions.Session(key)
		running := st.follow && err == nil
		for {
			at := log.Offset()
			line, err := log.Next(!running)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if !wanted.match(at, line) {
				continue
			}
			st.mu.Lock()
			st.out.write(LogLine{Agent: name, Session: key.Session, Line: line})
			st.mu.Unlock()
		}
		if !running {
			st.mu.Lock()
			*st.logs[key] = logState{offset: log.Offset()}
			st.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}
