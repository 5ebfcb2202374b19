package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/isolde-run/isolde"
)

// Reading is what a server has at the time of a scrape.
type Reading struct {
	Version, Driver string
	Sessions        map[SessionGroup]int // with a sandbox
	MaxSessions     int
	// In bytes. Zero is not known, or for the budget that there is none.
	MemoryPromised, MemoryBudget, MemoryTotal, MemoryAvailable int64
}

// SessionGroup is what sessions are counted by.
type SessionGroup struct {
	Runtime isolde.RuntimeID
	State   isolde.SessionState
}

// gauges are read when they are scraped, so that no change of a state has to
// count.
type gauges struct{ read func() Reading }

var (
	buildDesc     = prometheus.NewDesc("isolde_build_info", "1, with the version of the server and its driver.", []string{"version", "driver"}, nil)
	sessionsDesc  = prometheus.NewDesc("isolde_sessions", "Sessions with a sandbox, by state.", []string{"state"}, nil)
	runtimeDesc   = prometheus.NewDesc("isolde_runtime_sessions", "Sessions with a sandbox, by agent runtime and state; none for one without.", []string{"runtime", "state"}, nil)
	maxDesc       = prometheus.NewDesc("isolde_sessions_max", "Sessions that the server allows at once.", nil, nil)
	promisedDesc  = prometheus.NewDesc("isolde_memory_promised_bytes", "Memory that the sessions may use together.", nil, nil)
	budgetDesc    = prometheus.NewDesc("isolde_memory_budget_bytes", "Memory that may be promised; missing without a budget.", nil, nil)
	totalDesc     = prometheus.NewDesc("isolde_machine_memory_bytes", "Memory of the machine.", nil, nil)
	availableDesc = prometheus.NewDesc("isolde_machine_memory_available_bytes", "Memory of the machine that is not in use.", nil, nil)
)

// Describe implements prometheus.Collector.
func (gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildDesc, sessionsDesc, runtimeDesc, maxDesc, promisedDesc, budgetDesc, totalDesc, availableDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	r := g.read()
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	put(buildDesc, 1, r.Version, r.Driver)
	states := make(map[isolde.SessionState]int)
	for group, n := range r.Sessions {
		states[group.State] += n
		put(runtimeDesc, float64(n), string(group.Runtime), string(group.State))
	}
	for _, s := range []isolde.SessionState{isolde.SessionStarting, isolde.SessionActive, isolde.SessionIdle, isolde.SessionStopping} {
		put(sessionsDesc, float64(states[s]), string(s))
	}
	put(maxDesc, float64(r.MaxSessions))
	put(promisedDesc, float64(r.MemoryPromised))
	for d, bytes := range map[*prometheus.Desc]int64{budgetDesc: r.MemoryBudget, totalDesc: r.MemoryTotal, availableDesc: r.MemoryAvailable} {
		if bytes > 0 {
			put(d, float64(bytes))
		}
	}
}
