package session

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
)

// connectionRetry is when a caller may try again who found no room for a
// connection. Nobody knows when one ends; all do within the hour.
const connectionRetry = 5 * time.Second

// Connect is Acquire for a connection that stays open: a WebSocket, or that of
// a shell. It counts toward the limits on those from before its session
// starts until its lease is released or its attachment detached. A connection
// beyond a limit is refused with CodeThrottled, and one beyond the server's
// starts no session.
func (m *Manager) Connect(ctx context.Context, key isolde.SessionKey, launch *Launch) (*Lease, error) {
	if !enterRoom(&m.connections, m.cfg.MaxConnections) {
		return nil, isolde.Errorf(isolde.CodeThrottled, "%d WebSockets are open, the most this server allows", m.cfg.MaxConnections).
			WithHint("close some; or start the server with a larger --max-websockets").WithRetryAfter(connectionRetry)
	}
	lease, err := m.Acquire(ctx, key, launch)
	if err != nil {
		m.connections.Add(-1)
		return nil, err
	}
	if !enterRoom(&lease.s.connections, m.cfg.MaxSessionConnections) {
		m.connections.Add(-1)
		lease.Release()
		return nil, isolde.Errorf(isolde.CodeThrottled, "%d WebSockets to session %s are open, the most a session may have", m.cfg.MaxSessionConnections, key.Session).
			WithHint("close some; or start the server with a larger --max-session-websockets").WithRetryAfter(connectionRetry)
	}
	lease.connected = true
	return lease, nil
}

// enterRoom counts one more unless there are most already.
func enterRoom(count *atomic.Int64, most int) bool {
	for {
		n := count.Load()
		if n >= int64(most) {
			return false
		}
		if count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// disconnected is that a connection is over which Connect counted.
func (s *session) disconnected() {
	s.connections.Add(-1)
	s.m.connections.Add(-1)
}
