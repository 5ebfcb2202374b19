// Package telemetry is what a server tells of itself: Prometheus metrics.
package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/isolde-run/isolde"
)

// Metrics are the metrics of one server. A nil *Metrics counts nothing. Safe
// for concurrent use.
type Metrics struct {
	registry    *prometheus.Registry
	invocations *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	starts      *prometheus.HistogramVec
	ends        *prometheus.CounterVec
}

// New makes the metrics of a server. read is called at each scrape.
func New(read func() Reading) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		invocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isolde_invocations_total",
			Help: "Invocations answered, by agent runtime and result: ok, or the code of the error.",
		}, []string{"runtime", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "isolde_invocation_duration_seconds",
			Help:    "Time from an invocation's arrival to the last byte of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}, []string{"runtime"}),
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "isolde_session_start_duration_seconds",
			Help:    "Time from the start of a sandbox to its agent's first healthy ping, by driver.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}, []string{"driver"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isolde_session_ends_total",
			Help: "Sessions ended, by cause.",
		}, []string{"cause"}),
	}
	m.registry.MustRegister(m.invocations, m.duration, m.starts, m.ends, gauges{read},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Invocation counts an answered invocation; err is nil if the agent answered.
func (m *Metrics) Invocation(runtime isolde.RuntimeID, err error, took time.Duration) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = string(isolde.CodeOf(err))
	}
	m.invocations.WithLabelValues(string(runtime), result).Inc()
	m.duration.WithLabelValues(string(runtime)).Observe(took.Seconds())
}

// SessionStarted records how long a session took to its first healthy ping.
func (m *Metrics) SessionStarted(driver string, took time.Duration) {
	if m != nil {
		m.starts.WithLabelValues(driver).Observe(took.Seconds())
	}
}

// SessionEnded counts the end of a session.
func (m *Metrics) SessionEnded(cause isolde.EndCause) {
	if m != nil {
		m.ends.WithLabelValues(string(cause)).Inc()
	}
}
