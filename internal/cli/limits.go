package cli

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/server"
)

// limitOptions are the flags of a server's limits.
type limitOptions struct {
	limits       server.Limits
	memoryBudget string
	busyTimeout  time.Duration
}

func (o *limitOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&o.limits.MaxSessions, "max-sessions", 5000, "`number` of sessions at once")
	f.Float64Var(&o.limits.NewSessionsPerSecond, "max-new-sessions-per-second", 0, "`rate` at which sessions start; those beyond it wait for their turn (default: no bound)")
	f.DurationVar(&o.limits.StartWait, "start-wait", 30*time.Second, "`time` that a session waits for its turn to start")
	f.StringVar(&o.memoryBudget, "memory-budget", "", "`size` of memory that sessions may be promised together (their resources.memory), such as 64GiB, or 100% of the machine's (default: no bound)")
	f.IntVar(&o.limits.MaxWebSockets, "max-websockets", 10_000, "`number` of WebSockets open at once, connections to shells among them")
	f.IntVar(&o.limits.MaxSessionWebSockets, "max-session-websockets", 100, "`number` of those of each session")
	f.IntVar(&o.limits.PerAgent.Sessions, "agent-max-sessions", 0, "`number` of sessions at once of each agent (default: no bound)")
	f.Float64Var(&o.limits.PerAgent.NewSessionsPerSecond, "agent-max-new-sessions-per-second", 0, "`rate` at which sessions of each agent start (default: no bound)")
	f.Float64Var(&o.limits.PerAgent.RequestsPerSecond, "agent-max-requests-per-second", 0, "`rate` of requests to each agent (default: no bound)")
	f.DurationVar(&o.busyTimeout, "agent-busy-timeout", 0, "`time` after which a session ends that nobody uses and its agent keeps alive (default: never)")
	f.DurationVar(&o.limits.ReportBusyAfter, "report-busy-after", time.Hour, "`time` after which such a session is reported")
}

// complete checks the flags and fills the limits.
func (o *limitOptions) complete() (server.Limits, error) {
	l := o.limits
	for _, flag := range []struct {
		name  string
		value any
		wrong bool
	}{
		{"max-sessions", l.MaxSessions, l.MaxSessions < 1},
		{"max-websockets", l.MaxWebSockets, l.MaxWebSockets < 1},
		{"max-session-websockets", l.MaxSessionWebSockets, l.MaxSessionWebSockets < 1},
		{"start-wait", l.StartWait, l.StartWait <= 0},
		{"report-busy-after", l.ReportBusyAfter, l.ReportBusyAfter <= 0},
		{"max-new-sessions-per-second", l.NewSessionsPerSecond, l.NewSessionsPerSecond < 0},
		{"agent-max-sessions", l.PerAgent.Sessions, l.PerAgent.Sessions < 0},
		{"agent-max-new-sessions-per-second", l.PerAgent.NewSessionsPerSecond, l.PerAgent.NewSessionsPerSecond < 0},
		{"agent-max-requests-per-second", l.PerAgent.RequestsPerSecond, l.PerAgent.RequestsPerSecond < 0},
	} {
		if flag.wrong {
			return l, isolde.Errorf(isolde.CodeInvalid, "--%s is %v; it must be above zero", flag.name, flag.value)
		}
	}
	if o.busyTimeout < 0 || o.busyTimeout%time.Second != 0 || o.busyTimeout > math.MaxInt32*time.Second {
		return l, isolde.Errorf(isolde.CodeInvalid, "--agent-busy-timeout is %v; it must be whole seconds", o.busyTimeout)
	}
	l.PerAgent.BusyTimeout = isolde.Seconds(o.busyTimeout / time.Second)
	var err error
	l.MemoryBudget, err = memoryBudget(o.memoryBudget)
	return l, err
}

// memoryBudget reads a size, or a part of the machine's memory.
func memoryBudget(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if part, ok := strings.CutSuffix(s, "%"); ok {
		if v, err := strconv.ParseFloat(part, 64); err == nil && v > 0 && v <= 10_000 {
			total, _, err := server.MachineMemory()
			return int64(v / 100 * float64(total)), err
		}
	} else if v, ok := project.ParseSize(s); ok {
		return v, nil
	}
	return 0, isolde.Errorf(isolde.CodeInvalid, "--memory-budget %q is not a size", s).WithHint("for example 64GiB, or 100%% of the machine's memory")
}
