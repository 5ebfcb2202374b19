package server

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/telemetry"
)

// Limits bound what sessions may take. docs/LIMITS.md tells of all of them.
// A zero field is the default.
type Limits struct {
	MaxSessions          int           // with a sandbox at once; default 5,000
	NewSessionsPerSecond float64       // default: no bound
	MemoryBudget         int64         // bytes of memory that sessions may be promised together; default: no bound
	MaxWebSockets        int           // open at once, connections to shells among them; default 10,000
	MaxSessionWebSockets int           // of each session; default 100
	StartWait            time.Duration // for which a session waits for its turn to start; default 30 s
	ReportBusyAfter      time.Duration // until a session that its agent alone keeps alive is reported; default 1 h
	PerAgent             isolde.Limits // of every agent runtime; its own isolde.yaml may be stricter
}

// apply puts the limits into the configuration of sessions.
func (l Limits) apply(c *session.Config) {
	c.MaxSessions, c.NewSessionsPerSecond, c.MemoryBudget = l.MaxSessions, l.NewSessionsPerSecond, l.MemoryBudget
	c.MaxConnections, c.MaxSessionConnections = l.MaxWebSockets, l.MaxSessionWebSockets
	c.StartWait, c.ReportBusyAfter, c.PerAgent = l.StartWait, l.ReportBusyAfter, l.PerAgent
}

// usage is what sessions take of the limits now.
func (s *Server) usage() operator.Usage {
	load := s.sessions.Load()
	u := operator.Usage{
		Sessions: load.Sessions, MaxSessions: load.MaxSessions,
		MemoryPromised: load.MemoryPromised, MemoryBudget: load.MemoryBudget,
	}
	u.MemoryTotal, u.MemoryAvailable, _ = MachineMemory() // zero where it is not known
	return u
}

// reading is what the metrics tell of now.
func (s *Server) reading(driver string) telemetry.Reading {
	u := s.usage()
	return telemetry.Reading{
		Version: s.cfg.Version, Driver: driver, Sessions: s.sessions.Count(), MaxSessions: u.MaxSessions,
		MemoryPromised: u.MemoryPromised, MemoryBudget: u.MemoryBudget, MemoryTotal: u.MemoryTotal, MemoryAvailable: u.MemoryAvailable,
	}
}

// MachineMemory is how much memory the machine has, and how much of it is not
// in use, in bytes.
func MachineMemory() (total, available int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("find the machine's memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &total) // other lines are others
		_, _ = fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &available)
	}
	return total << 10, available << 10, nil
}
