package isolde

import "time"

// SessionKey names a session: ids are the caller's, so they are unique within
// an agent runtime only.
type SessionKey struct {
	Runtime RuntimeID
	Session SessionID
}

// SessionState is where a session is in its life.
type SessionState string

// The states. A session is Active while a request runs or its agent says
// HealthyBusy, and Idle otherwise. Stopped is not an end: the next invocation
// with the id starts anew.
const (
	SessionStarting SessionState = "Starting"
	SessionActive   SessionState = "Active"
	SessionIdle     SessionState = "Idle"
	SessionStopping SessionState = "Stopping"
	SessionStopped  SessionState = "Stopped"
)

// EndCause is who or what ended a session.
type EndCause string

// The causes. Caller, Operator and Server are those who had it stopped; the
// others came of themselves.
const (
	EndCaller    EndCause = "caller"    // StopRuntimeSession
	EndOperator  EndCause = "operator"  // Isolde's own API, or the console
	EndServer    EndCause = "server"    // that shut down, or dropped the agent runtime or its version
	EndIdle      EndCause = "idle"      // nobody used it for its idle timeout
	EndLifetime  EndCause = "lifetime"  // it reached its maximum lifetime
	EndExited    EndCause = "exited"    // the agent's process ended
	EndUnhealthy EndCause = "unhealthy" // the agent left its pings unanswered, or answered them badly
	EndRunaway   EndCause = "runaway"   // its agent alone kept it alive for its busy timeout
	EndFailed    EndCause = "failed"    // it did not start
	EndLost      EndCause = "lost"      // its sandbox was gone when a server came back
)

// Session is a snapshot of a session, for people and for the store.
type Session struct {
	Runtime      RuntimeID     `json:"agentRuntimeId"`
	ID           SessionID     `json:"runtimeSessionId"`
	User         string        `json:"userId,omitempty"` // that of the first request which named one; what the caller says, unless a token did
	Version      VersionNumber `json:"agentRuntimeVersion"`
	State        SessionState  `json:"state"`
	Owner        string        `json:"owner,omitempty"` // the identity that started it, and that alone may enter it; empty: anyone may
	Driver       string        `json:"driver"`
	Sandbox      string        `json:"sandbox,omitempty"`      // the driver's id of it; empty when there is none
	StartedAt    time.Time     `json:"startedAt"`              // when the sandbox's start began
	LastActiveAt time.Time     `json:"lastActiveAt"`           // when the idle clock was last set back
	LastUsedAt   time.Time     `json:"lastUsedAt"`             // when a caller last used it
	IdleAt       time.Time     `json:"idleTimeoutAt,omitzero"` // when it ends if nothing happens; zero while Active
	ExpiresAt    time.Time     `json:"expiresAt"`              // when it ends in any case
	Requests     int64         `json:"requests"`               // invocations since the start
	InFlight     int           `json:"inFlight"`
	Busy         bool          `json:"busy,omitempty"`    // the agent said HealthyBusy at its last ping
	Runaway      bool          `json:"runaway,omitempty"` // its agent has kept it alive for long, and nobody uses it
	EndedAt      time.Time     `json:"endedAt,omitzero"`
	EndCause     EndCause      `json:"endCause,omitempty"`
	EndReason    string        `json:"endReason,omitempty"` // for people, to be read after "it": "was idle for 15m0s"
	LastError    *AgentError   `json:"lastError,omitempty"`
}

// Key is the session's key.
func (s Session) Key() SessionKey { return SessionKey{s.Runtime, s.ID} }

// AgentError is what an agent did wrong, in full, for its owner. API callers
// get a RuntimeClientError without it, as on AWS.
type AgentError struct {
	Time    time.Time `json:"time"`
	Request string    `json:"requestId,omitempty"`
	Status  int       `json:"status,omitempty"` // what the agent answered; 0 if it did not answer
	Message string    `json:"message"`          // the agent's own body or last output, at most 64 KiB
}
