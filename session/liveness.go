package session

import (
	"context"
	"time"

	"github.com/isolde-run/isolde"
)

// maxLivenessBody bounds how much of an agent's answer to a ping is shown.
const maxLivenessBody = 4 << 10

// Liveness is how an agent answered a ping.
type Liveness struct {
	Session isolde.Session // as it was afterwards
	Healthy bool
	Busy    bool          // it said HealthyBusy
	Status  int           // of its answer; 0 if it gave none
	Body    string        // of its answer, at most 4 KiB
	Err     error         // why it is not healthy; nil if it is
	Took    time.Duration // of the ping; 0 if there was none
}

// Ping asks a session's agent for its health now. That is no activity: it
// neither sets back the idle clock nor counts as one of the pings by which a
// session is judged. A session that is starting or stopping is not asked, and
// not healthy. CodeNotFound when it has no sandbox; ctx's cause when it ends.
func (m *Manager) Ping(ctx context.Context, key isolde.SessionKey) (Liveness, error) {
	m.mu.RLock()
	s := m.sessions[key]
	m.mu.RUnlock()
	if s == nil {
		return Liveness{}, errNotRunning(key)
	}
	if now := s.snapshot(); now.State != isolde.SessionActive && now.State != isolde.SessionIdle {
		return Liveness{Session: now, Err: isolde.Errorf(isolde.CodeConflict, "the session is %s", now.State)}, nil
	}
	short, cancel := context.WithTimeout(ctx, m.cfg.PingTimeout)
	defer cancel()
	began := time.Now()
	p := s.health.ping(short, s.wire)
	if p.err != nil && ctx.Err() != nil {
		return Liveness{}, context.Cause(ctx)
	}
	return Liveness{
		Session: s.snapshot(), Healthy: p.err == nil, Busy: p.busy, Status: p.status,
		Body: string(p.body[:min(len(p.body), maxLivenessBody)]), Err: p.err, Took: p.at.Sub(began),
	}, nil
}
