//go:build linux

package bench

import (
	"math"
	"slices"
	"testing"
	"time"
)

// samples are figures of one kind, in no order.
type samples []float64

// quantile is the nearest-rank quantile: of few samples, p99 is the largest.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func (s samples) median() float64 { return s.quantile(0.5) }

func (s *samples) add(d time.Duration) { *s = append(*s, float64(d)) }

// series is what one side showed, over all rounds.
type series struct {
	all    samples // every sample
	rounds samples // each round's median
}

func (s *series) round(in samples) {
	s.all = append(s.all, in...)
	s.rounds = append(s.rounds, in.median())
}

// times reports p50 and p99 of durations, as name-p50-unit.
func (s *series) times(b *testing.B, name string, unit time.Duration) {
	u := "-" + map[time.Duration]string{time.Millisecond: "ms", time.Microsecond: "us"}[unit]
	b.ReportMetric(s.all.median()/float64(unit), name+"-p50"+u)
	b.ReportMetric(s.all.quantile(0.99)/float64(unit), name+"-p99"+u)
}

// over is the median of the rounds' ratios.
func (s *series) over(base *series) float64 {
	n := min(len(s.rounds), len(base.rounds))
	ratios := make(samples, n)
	for i := range n {
		ratios[i] = s.rounds[i] / base.rounds[i]
	}
	return ratios.median()
}

// noTime drops the time of an iteration, which means nothing here.
func noTime(b *testing.B) { b.ReportMetric(0, "ns/op") }

// budget lets a benchmark make no more rounds once it took long enough,
// whatever -benchtime says, on a machine that is slow or busy.
type budget struct {
	end    time.Time
	rounds int
}

func newBudget(d time.Duration) *budget { return &budget{end: time.Now().Add(d)} }

// round tells whether there is time for one more; the first one always has it.
func (u *budget) round() bool {
	if u.rounds > 0 && time.Now().After(u.end) {
		return false
	}
	u.rounds++
	return true
}

// inTurn calls f for every side, each round beginning with another.
func inTurn(round, sides int, f func(side int)) {
	for i := range sides {
		f((i + round) % sides)
	}
}
