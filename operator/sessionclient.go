package operator

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/isolde-run/isolde"
)

// SessionFilter selects sessions. The zero value selects all that run.
type SessionFilter struct {
	Agent  string // id, name or ARN; empty: of all agents
	User   string // empty: of all users
	Prefix string // with which the ids begin
	States []isolde.SessionState
	Ended  bool // those that do not run any more, too

	Limit int  // of a list; 0: none
	Stats bool // have a list's sessions measured
}

func (f SessionFilter) query() url.Values {
	q := query("agent", f.Agent)
	if f.User != "" {
		q.Set("user", f.User)
	}
	if f.Prefix != "" {
		q.Set("prefix", f.Prefix)
	}
	for _, s := range f.States {
		q.Add("state", string(s))
	}
	if f.Ended {
		q.Set("all", "true")
	}
	if f.Stats {
		q.Set("stats", "true")
	}
	return q
}

// Sessions lists sessions, page by page: first those that run, the newest
// start first, then those that ended, the newest end first.
func (c *Client) Sessions(ctx context.Context, f SessionFilter) ([]Session, error) {
	q := f.query()
	all := []Session{}
	seen := make(map[isolde.SessionKey]bool) // one that ends meanwhile is on two pages
	for {
		if left := f.Limit - len(all); f.Limit > 0 {
			q.Set("limit", strconv.Itoa(min(left, maxSessionPage)))
		}
		page, err := get[SessionList](ctx, c, http.MethodGet, "/isolde/v1/sessions", q)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Sessions {
			if !seen[s.Key()] {
				seen[s.Key()] = true
				all = append(all, s)
			}
		}
		if page.Next == "" || f.Limit > 0 && len(all) >= f.Limit {
			return all, nil
		}
		q.Set("after", page.Next)
	}
}

func sessionPath(id isolde.SessionID) string {
	return "/isolde/v1/sessions/" + url.PathEscape(string(id))
}

// Session finds one session; agent may be empty when the id is unique.
func (c *Client) Session(ctx context.Context, agent string, id isolde.SessionID) (Session, error) {
	return get[Session](ctx, c, http.MethodGet, sessionPath(id), query("agent", agent))
}

// MeasureSession is Session with what the session uses now.
func (c *Client) MeasureSession(ctx context.Context, agent string, id isolde.SessionID) (Session, error) {
	q := query("agent", agent)
	q.Set("stats", "true")
	return get[Session](ctx, c, http.MethodGet, sessionPath(id), q)
}

// Health asks a session's agent for its health, which does not extend the
// session; agent may be empty when the id is unique.
func (c *Client) Health(ctx context.Context, agent string, id isolde.SessionID) (Health, error) {
	return get[Health](ctx, c, http.MethodGet, sessionPath(id)+"/health", query("agent", agent))
}

// Watch streams the changes of sessions until ctx ends or the caller stops:
// those of an agent and a user, whatever their states. CodeUnavailable when
// the server breaks off, or the caller was too slow to see every end.
func (c *Client) Watch(ctx context.Context, f SessionFilter) iter.Seq2[WatchEvent, error] {
	return func(yield func(WatchEvent, error) bool) {
		resp, err := c.do(ctx, http.MethodGet, "/isolde/v1/sessions/watch", f.query(), "", nil)
		if err != nil {
			yield(WatchEvent{}, err)
			return
		}
		defer resp.Body.Close()
		for e, err := range lines[WatchEvent](resp.Body) {
			if err == nil && e.Error != nil {
				err = e.Error.asError()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		yield(WatchEvent{}, isolde.Errorf(isolde.CodeUnavailable, "%s ended the watch", c.URL).WithHint("it may be shutting down"))
	}
}

// StopSession ends a session and waits until its sandbox is gone.
func (c *Client) StopSession(ctx context.Context, agent string, id isolde.SessionID) (StopResult, error) {
	return get[StopResult](ctx, c, http.MethodDelete, sessionPath(id), query("agent", agent))
}

// StopSessions ends all sessions that match and waits until their sandboxes
// are gone.
func (c *Client) StopSessions(ctx context.Context, f SessionFilter) (StopResult, error) {
	return get[StopResult](ctx, c, http.MethodDelete, "/isolde/v1/sessions", f.query())
}
