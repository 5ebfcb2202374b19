package session

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
)

// agent is what the sessions of one agent runtime share.
type agent struct {
	starts   pace
	requests pace
	// Set once the limits are those of a version: a session that is found again
	// does not know its version's.
	obeys atomic.Bool

	// Guarded by Manager.mu.
	sessions int
	limits   isolde.Limits // of the version whose session started last, within the server's
}

// agent returns what the manager knows of an agent runtime. Its holder has
// m.mu.
func (m *Manager) agent(id isolde.RuntimeID) *agent {
	a := m.agents[id]
	if a == nil {
		a = &agent{}
		a.obey(m.cfg.PerAgent)
		a.obeys.Store(false)
		m.agents[id] = a
	}
	return a
}

// obey makes limits the agent's; its holder has Manager.mu.
func (a *agent) obey(l isolde.Limits) {
	a.limits = l
	a.starts.set(l.NewSessionsPerSecond)
	a.requests.set(l.RequestsPerSecond)
	a.obeys.Store(true)
}

// admit decides whether a session may start, and after which delay: limits on
// how much there is refuse at once, as nobody knows when they end, those on how
// fast things go make it wait for up to StartWait. Its caller has m.mu.
func (m *Manager) admit(key isolde.SessionKey, launch *Launch) (delay time.Duration, err error) {
	a := m.agent(key.Runtime)
	a.obey(launch.Limits.Within(m.cfg.PerAgent))
	if err := m.throttle(a, key.Runtime, nil); err != nil {
		return 0, err
	}
	if most := m.cfg.MaxSessions; len(m.sessions) >= most {
		return 0, isolde.Errorf(isolde.CodeQuota, "%d sessions run, the most this server allows", len(m.sessions)).
			WithHint("end some with: isolde session stop; or start the server with a larger --max-sessions")
	}
	if most := a.limits.Sessions; most > 0 && a.sessions >= most {
		return 0, isolde.Errorf(isolde.CodeQuota, "%d sessions of agent runtime %s run, the most it may have", a.sessions, key.Runtime).
			WithHint("end some with: isolde session stop; or raise limits.sessions of the agent and --agent-max-sessions of the server")
	}
	if memory, budget := launch.memory(), m.cfg.MemoryBudget; budget > 0 && m.promised+memory > budget {
		return 0, isolde.Errorf(isolde.CodeQuota, "a session of agent runtime %s may use %s of memory; the sessions that run were promised %s of the %s there are",
			key.Runtime, size(memory), size(m.promised), size(budget)).
			WithHint("end some with: isolde session stop; give the agent less (resources.memory); or start the server with a larger --memory-budget")
	}
	return m.turn(key.Runtime, a)
}

// turn takes a new session's turn to start. The agent's own pace comes first:
// what that refuses takes no turn of the others.
func (m *Manager) turn(id isolde.RuntimeID, a *agent) (delay time.Duration, err error) {
	own, ok := a.starts.take(m.clock, m.cfg.StartWait)
	if !ok {
		return 0, isolde.Errorf(isolde.CodeThrottled, "agent runtime %s starts %g new sessions per second at most, and so many wait that this one's turn is more than %v away",
			id, a.limits.NewSessionsPerSecond, m.cfg.StartWait).
			WithHint("try again later; the limit is limits.newSessionsPerSecond of the agent, within --agent-max-new-sessions-per-second of the server").
			WithRetryAfter(own)
	}
	all, ok := m.pace.take(m.clock, m.cfg.StartWait)
	if !ok {
		return 0, isolde.Errorf(isolde.CodeThrottled, "this server starts %g new sessions per second at most, and so many wait that this one's turn is more than %v away",
			m.cfg.NewSessionsPerSecond, m.cfg.StartWait).
			WithHint("try again later; the limit is --max-new-sessions-per-second of the server").WithRetryAfter(all)
	}
	return max(own, all), nil
}

// throttle applies the limit on requests of an agent runtime.
func (m *Manager) throttle(a *agent, id isolde.RuntimeID, launch *Launch) error {
	if launch != nil && !a.obeys.Load() {
		m.mu.Lock()
		a.obey(launch.Limits.Within(m.cfg.PerAgent))
		m.mu.Unlock()
	}
	again, ok := a.requests.take(m.clock, 0)
	if ok {
		return nil
	}
	return isolde.Errorf(isolde.CodeThrottled, "agent runtime %s takes %.4g requests per second at most", id, a.requests.perSecond()).
		WithHint("try again in a moment; the limit is limits.requestsPerSecond of the agent, within --agent-max-requests-per-second of the server").
		WithRetryAfter(again)
}

// enroll counts a session that begins; its caller has m.mu.
func (m *Manager) enroll(s *session) {
	s.agent = m.agent(s.key.Runtime)
	s.agent.sessions++
	m.promised += s.memory
	m.sessions[s.key] = s
}

// discharge takes a session that is over out of the books; its caller has m.mu.
func (m *Manager) discharge(s *session) {
	delete(m.sessions, s.key)
	m.promised -= s.memory
	if s.agent.sessions--; s.agent.sessions == 0 && s.agent.starts.rested(m.clock()) {
		delete(m.agents, s.key.Runtime)
	}
}

// clock is the time since the manager was opened, which no change of the
// machine's clock moves.
func (m *Manager) clock() time.Duration { return time.Since(m.opened) }

// memory is how much memory a session may use, in bytes.
func (l *Launch) memory() int64 { return l.Spec.Resources.WithDefaults().MemoryBytes }

// Load is what the sessions take of the server's limits. Memory is in bytes:
// what the sessions may use together, and how much that may be.
type Load struct {
	Sessions, MaxSessions        int
	MemoryPromised, MemoryBudget int64 // no budget: 0
}

// Load tells what the sessions take now.
func (m *Manager) Load() Load {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Load{len(m.sessions), m.cfg.MaxSessions, m.promised, m.cfg.MemoryBudget}
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.4g GiB", float64(n)/(1<<30))
}
