package session

import (
	"context"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// owned is nil unless the session belongs to another than ctx's caller. A
// caller without a name is one whom no rule binds: the operator, or everyone
// where sessions are not bound.
func (s *session) owned(ctx context.Context) error {
	if s.owner == "" { // the usual case, at no cost
		return nil
	}
	return checkOwner(s.key, s.owner, auth.Owner(ctx))
}

func checkOwner(key isolde.SessionKey, owner, caller string) error {
	if caller == "" || owner == "" || owner == caller {
		return nil
	}
	return isolde.Errorf(isolde.CodeDenied, "session %s belongs to another identity", key.Session).
		WithHint("use a session id of your own")
}

// ownedBefore is owned for a session that does not run. It may have run before,
// and what it stored then is its owner's as long as its record is kept.
func (m *Manager) ownedBefore(ctx context.Context, key isolde.SessionKey, caller string) error {
	if caller == "" {
		return nil
	}
	records, err := m.cfg.Store.SessionsByID(ctx, key.Session)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Runtime == key.Runtime {
			return checkOwner(key, r.Owner, caller)
		}
	}
	return nil
}
