package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Status is how an agent says it is, on GET /ping.
type Status string

const (
	// Healthy is an agent that waits for calls: its session ends when it was
	// idle for long enough.
	Healthy Status = "Healthy"
	// HealthyBusy is an agent that works without a call under way: its session
	// is not idle.
	HealthyBusy Status = "HealthyBusy"
)

func (s Status) valid() bool { return s == Healthy || s == HealthyBusy }

// status is what an App says it is, and since when.
type status struct {
	mu      sync.Mutex
	forced  Status // "" if it is not
	last    Status // told, "" before the first time
	changed time.Time
}

// ForceStatus makes the agent say s, whatever it does, until ForceStatus("").
func (a *App) ForceStatus(s Status) {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	a.status.forced = s
}

// Status is what the agent says it is: what was forced, else what Ping
// returns, else [HealthyBusy] while a task of [Go] or [Busy] runs.
func (a *App) Status() Status {
	now, _ := a.currentStatus()
	return now
}

// currentStatus also tells since when the status is what it is. That time
// changes with the status alone: one that advanced with every ping would
// count as activity, and an idle session would live for ever.
func (a *App) currentStatus() (Status, time.Time) {
	custom := a.customStatus()
	s := &a.status
	s.mu.Lock()
	defer s.mu.Unlock()
	now := Healthy
	switch {
	case s.forced.valid():
		now = s.forced
	case custom.valid():
		now = custom
	case a.tasks.any():
		now = HealthyBusy
	}
	if now != s.last {
		s.last, s.changed = now, time.Now()
	}
	return now, s.changed
}

// customStatus asks Ping, and returns "" if there is none or it fails.
func (a *App) customStatus() (s Status) {
	if a.Ping == nil {
		return ""
	}
	err := func() (err error) {
		defer recovered(&err)
		if s = a.Ping(); !s.valid() {
			return fmt.Errorf("ping returned the status %q", s)
		}
		return nil
	}()
	if err != nil {
		logError(a.context(), a.logger(), "custom ping failed, falling back to automatic", err)
		return ""
	}
	return s
}

func (a *App) servePing(w http.ResponseWriter, _ *http.Request) {
	now, changed := a.currentStatus()
	body, _ := json.Marshal(struct {
		Status  Status `json:"status"`
		Changed int64  `json:"time_of_last_update"` // seconds since 1970
	}{now, changed.Unix()})
	writeJSON(w, http.StatusOK, body)
}
