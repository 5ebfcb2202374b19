package operator

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// maxSessionPage is how many sessions a page of the list holds at most, and
// unless asked for fewer.
const maxSessionPage = 1000

// sessionQuery is what the query parameters of sessions select.
type sessionQuery struct {
	runtime isolde.RuntimeID // empty: all
	user    string           // empty: all
	prefix  string           // of the ids
	states  []isolde.SessionState
	ended   bool // those that do not run, too
	stats   bool
	limit   int
	after   sessionCursor
}

// sessionCursor is the place of a session in the list: those that run come
// first, the newest start first, then those that ended, the newest end first.
type sessionCursor struct {
	Ended   bool             `json:"e,omitempty"`
	At      int64            `json:"t"` // of the start or the end, Unix microseconds; 0: the beginning
	Runtime isolde.RuntimeID `json:"r"`
	Session isolde.SessionID `json:"s"`
}

func (c sessionCursor) String() string {
	b, _ := json.Marshal(c) // has nothing that could fail
	return base64.RawURLEncoding.EncodeToString(b)
}

func (h *Handler) readSessionQuery(r *http.Request) (q sessionQuery, err error) {
	v := r.URL.Query()
	if q.runtime, err = h.agentFilter(r); err != nil {
		return q, err
	}
	q.user, q.prefix = v.Get("user"), v.Get("prefix")
	q.ended, q.stats = v.Get("all") == "true", v.Get("stats") == "true"
	for _, s := range v["state"] {
		state := isolde.SessionState(s)
		if !slices.Contains([]isolde.SessionState{
			isolde.SessionStarting, isolde.SessionActive, isolde.SessionIdle, isolde.SessionStopping, isolde.SessionStopped,
		}, state) {
			return q, isolde.Errorf(isolde.CodeInvalid, "state %q is none of a session", s).WithHint("it can be Starting, Active, Idle, Stopping or Stopped")
		}
		q.states = append(q.states, state)
		q.ended = q.ended || state == isolde.SessionStopped
	}
	q.limit = maxSessionPage
	if s := v.Get("limit"); s != "" {
		if q.limit, err = strconv.Atoi(s); err != nil || q.limit < 1 || q.limit > maxSessionPage {
			return q, isolde.Errorf(isolde.CodeInvalid, "limit %q is not a number from 1 to %d", s, maxSessionPage)
		}
	}
	if s := v.Get("after"); s != "" {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || json.Unmarshal(b, &q.after) != nil || q.after.At == 0 {
			return q, isolde.Errorf(isolde.CodeInvalid, "after %q is not what an earlier answer had as next", s)
		}
	}
	return q, nil
}

func (q *sessionQuery) matches(s isolde.Session) bool {
	return (q.runtime == "" || s.Runtime == q.runtime) && (q.user == "" || s.User == q.user) &&
		strings.HasPrefix(string(s.ID), q.prefix) &&
		(len(q.states) == 0 || slices.Contains(q.states, s.State))
}

// page lists what a query selects, and the query's "after" for what follows;
// empty if nothing does. Sessions that start or end between two pages are in
// the list at their old place, at the new one, or at both.
func (h *Handler) page(ctx context.Context, q sessionQuery) (out []isolde.Session, next string, err error) {
	wantsEnded := q.ended && (len(q.states) == 0 || slices.Contains(q.states, isolde.SessionStopped))
	if !q.after.Ended {
		out = h.running(q)
		if more := len(out) > q.limit; more || len(out) == q.limit && wantsEnded {
			return out[:q.limit], startedPlace(out[q.limit-1]).String(), nil
		}
		q.after = sessionCursor{}
	}
	if !wantsEnded {
		return out, "", nil
	}
	room := q.limit - len(out)
	ended, err := h.ended(ctx, q, room+1)
	if len(ended) > room {
		ended = ended[:room]
		next = endedPlace(ended[room-1]).String()
	}
	return append(out, ended...), next, err
}

// running lists those of a query's sessions that run and come after its place.
func (h *Handler) running(q sessionQuery) []isolde.Session {
	all := slices.DeleteFunc(h.Sessions.Sessions(), func(s isolde.Session) bool {
		return !q.matches(s) || q.after.At != 0 && comparePlaces(startedPlace(s), q.after) <= 0
	})
	slices.SortFunc(all, func(a, b isolde.Session) int { return comparePlaces(startedPlace(a), startedPlace(b)) })
	return all
}

// ended lists those of a query's sessions that do not run and come after its
// place, at most limit.
func (h *Handler) ended(ctx context.Context, q sessionQuery, limit int) ([]isolde.Session, error) {
	before := isolde.Session{Runtime: q.after.Runtime, ID: q.after.Session}
	if q.after.At != 0 {
		before.EndedAt = time.UnixMicro(q.after.At)
	}
	var out []isolde.Session
	for len(out) < limit {
		ask := isolde.EndedQuery{Runtime: q.runtime, User: q.user, Prefix: q.prefix, Before: before, Limit: limit - len(out)}
		records, err := h.Store.EndedSessions(ctx, ask)
		for _, s := range records {
			if _, err := h.Sessions.Session(s.Key()); err != nil { // else it runs again
				out = append(out, s)
			}
		}
		if err != nil || len(records) < ask.Limit {
			return out, err
		}
		before = records[len(records)-1]
	}
	return out, nil
}

func startedPlace(s isolde.Session) sessionCursor {
	return sessionCursor{At: s.StartedAt.UnixMicro(), Runtime: s.Runtime, Session: s.ID}
}

func endedPlace(s isolde.Session) sessionCursor {
	return sessionCursor{Ended: true, At: s.EndedAt.UnixMicro(), Runtime: s.Runtime, Session: s.ID}
}

// comparePlaces orders sessions that run.
func comparePlaces(a, b sessionCursor) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Runtime, b.Runtime), cmp.Compare(a.Session, b.Session))
}
