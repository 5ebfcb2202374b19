package session

import (
	"context"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// owned is nil unless the session belongs to another than ctx's caller; see
// [auth.MayEnter].
func (s *session) owned(ctx context.Context) error { return checkOwner(ctx, s.key, s.owner) }

func checkOwner(ctx context.Context, key isolde.SessionKey, owner string) error {
	if auth.MayEnter(ctx, owner) {
		return nil
	}
	return isolde.Errorf(isolde.CodeDenied, "session %s belongs to another identity", key.Session).
		WithHint("use a session id of your own")
}

// ownedBefore is owned for a session that does not run. It may have run before,
// and what it stored then is its owner's as long as its record is kept.
func (m *Manager) ownedBefore(ctx context.Context, key isolde.SessionKey) error {
	if auth.IsUnbound(ctx) {
		return nil
	}
	records, err := m.cfg.Store.SessionsByID(ctx, key.Session)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Runtime == key.Runtime {
			return checkOwner(ctx, key, r.Owner)
		}
	}
	return nil
}
