package isolde

// Limits bound the sessions of one agent runtime together, beside what the
// server allows to each. The zero value of a field is no bound.
type Limits struct {
	Sessions             int     `json:"sessions,omitempty"`             // with a sandbox at once
	NewSessionsPerSecond float64 `json:"newSessionsPerSecond,omitempty"` // as many at once after a rest, but at least one
	RequestsPerSecond    float64 `json:"requestsPerSecond,omitempty"`    // invocations, commands and new connections; as many at once after a rest
	// BusyTimeout ends a session that its agent alone keeps alive
	// (HealthyBusy), that long after a caller last used it.
	BusyTimeout Seconds `json:"busyTimeout,omitempty"`
}

// Within returns the stricter of l and outer, field by field.
func (l Limits) Within(outer Limits) Limits {
	return Limits{
		Sessions:             stricter(l.Sessions, outer.Sessions),
		NewSessionsPerSecond: stricter(l.NewSessionsPerSecond, outer.NewSessionsPerSecond),
		RequestsPerSecond:    stricter(l.RequestsPerSecond, outer.RequestsPerSecond),
		BusyTimeout:          stricter(l.BusyTimeout, outer.BusyTimeout),
	}
}

// stricter is the smaller bound, zero being none.
func stricter[T int | float64 | Seconds](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (l Limits) check(p *Problems) {
	if l.Sessions < 0 || l.NewSessionsPerSecond < 0 || l.RequestsPerSecond < 0 || l.BusyTimeout < 0 {
		p.Add("limits", "must not be negative: %+v", l)
	}
}
