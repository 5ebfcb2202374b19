package operator

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/session"
)

// StorageList is what GET /isolde/v1/storage answers, what was used last
// first. Query parameter: agent (id, name or ARN; optional).
type StorageList struct {
	Storage []Storage `json:"storage"`
}

// Storage is what a session keeps in its session storage, whether it runs or
// not.
type Storage struct {
	Runtime    isolde.RuntimeID     `json:"agentRuntimeId"`
	AgentName  string               `json:"agentRuntimeName"`
	Session    isolde.SessionID     `json:"runtimeSessionId"`
	Version    isolde.VersionNumber `json:"agentRuntimeVersion,string"` // under which it was written
	Bytes      int64                `json:"bytes"`                      // of the server's disk
	CreatedAt  time.Time            `json:"createdAt"`
	LastUsedAt time.Time            `json:"lastUsedAt"`
	Running    bool                 `json:"running"` // a sandbox has it now, and so it cannot be removed
}

// RemovedStorage is what DELETE /isolde/v1/storage/{session} answers, and
// DELETE /isolde/v1/storage for all sessions that do not run. Query parameter:
// agent (id, name or ARN), which the first needs if the id is not unique.
type RemovedStorage struct {
	Removed []isolde.SessionID `json:"removed"`
}

func (h *Handler) storage(r *http.Request) (any, error) {
	id, err := h.agentFilter(r)
	if err != nil {
		return nil, err
	}
	out := StorageList{Storage: []Storage{}}
	for _, s := range h.Sessions.Storages(id) {
		out.Storage = append(out.Storage, Storage{
			Runtime: s.Key.Runtime, AgentName: agentName(s.Key.Runtime), Session: s.Key.Session, Version: s.Version,
			Bytes: s.Bytes, CreatedAt: s.CreatedAt, LastUsedAt: s.LastUsedAt, Running: s.Running,
		})
	}
	return out, nil
}

func (h *Handler) removeStorage(r *http.Request) (any, error) {
	id, err := h.agentFilter(r)
	if err != nil {
		return nil, err
	}
	want := isolde.SessionID(r.PathValue("session"))
	found := slices.DeleteFunc(h.Sessions.Storages(id), func(s session.Storage) bool { return s.Key.Session != want })
	switch len(found) {
	case 0:
		return nil, isolde.Errorf(isolde.CodeNotFound, "session %s keeps no files", want).WithHint("isolde session storage ls lists those that do")
	case 1:
		return RemovedStorage{Removed: []isolde.SessionID{want}}, h.Sessions.RemoveStorage(found[0].Key)
	default:
		return nil, isolde.Errorf(isolde.CodeConflict, "%d agents have a session %q", len(found), want).WithHint("name one with --agent")
	}
}

func (h *Handler) removeStorages(r *http.Request) (any, error) {
	id, err := h.agentFilter(r)
	if err != nil {
		return nil, err
	}
	out := RemovedStorage{Removed: []isolde.SessionID{}}
	for _, s := range h.Sessions.Storages(id) {
		err := h.Sessions.RemoveStorage(s.Key)
		switch isolde.CodeOf(err) {
		case "":
			out.Removed = append(out.Removed, s.Key.Session)
		case isolde.CodeConflict, isolde.CodeNotFound: // it runs, or somebody else removed it
		default:
			return nil, err
		}
	}
	return out, nil
}

// Storage lists what the sessions of an agent keep, or those of all agents if
// it is empty.
func (c *Client) Storage(ctx context.Context, agent string) ([]Storage, error) {
	l, err := get[StorageList](ctx, c, http.MethodGet, "/isolde/v1/storage", query("agent", agent))
	return l.Storage, err
}

// RemoveStorage removes what a session keeps. CodeConflict while it runs.
func (c *Client) RemoveStorage(ctx context.Context, agent string, id isolde.SessionID) (RemovedStorage, error) {
	return get[RemovedStorage](ctx, c, http.MethodDelete, "/isolde/v1/storage/"+url.PathEscape(string(id)), query("agent", agent))
}

// RemoveStorages removes what the sessions of an agent keep that do not run,
// or those of all agents if it is empty.
func (c *Client) RemoveStorages(ctx context.Context, agent string) (RemovedStorage, error) {
	return get[RemovedStorage](ctx, c, http.MethodDelete, "/isolde/v1/storage", query("agent", agent))
}
