//go:build linux

package bench

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkCall measures a small call, 17 bytes there and 18 back, to a
// session that runs: latency until the first byte, calls a second, and what a
// call costs the server in processor time and allocations.
func BenchmarkCall(b *testing.B) {
	for _, driver := range []string{"process", "gvisor"} {
		for _, c := range []struct{ connections, calls int }{{1, 400}, {32, 3200}, {256, 5120}} {
			b.Run(fmt.Sprintf("%s/%d", driver, c.connections), func(b *testing.B) { benchmarkCall(b, driver, c.connections, c.calls) })
		}
	}
}

func benchmarkCall(b *testing.B, driver string, connections, calls int) {
	c := startCarrying(b, driver)
	clients := c.clients(connections)
	body := []byte(`{"prompt":"hello"}`)
	for side := range clients { // connections of the proxies to the agent, too
		hammer(b, clients[side], body, calls/4)
	}
	latency, rate, used := c.series(), c.series(), make([]usage, len(c.routes))
	u := newBudget(16 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		inTurn(u.rounds, len(clients), func(side int) {
			before := c.used[side]()
			took, elapsed := hammer(b, clients[side], body, calls)
			used[side] = used[side].plus(c.used[side]().minus(before))
			latency[side].round(took)
			rate[side].round(samples{float64(calls) / elapsed.Seconds()})
		})
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	n := float64(u.rounds * calls)
	for side, t := range c.routes {
		latency[side].times(b, t.name, time.Microsecond)
		b.ReportMetric(rate[side].rounds.median(), t.name+"-calls/s")
		if side != direct {
			b.ReportMetric(float64(used[side].CPU.Microseconds())/n, t.name+"-cpu-us/call")
			// Apart, since counting makes all of it slower.
			count := countInstructions(b, c.pids[side]())
			hammer(b, clients[side], body, calls)
			if user, kernel := count(); user > 0 {
				b.ReportMetric(user/float64(calls), t.name+"-user-instructions/call")
				b.ReportMetric(kernel/float64(calls), t.name+"-kernel-instructions/call")
			}
		}
		if used[side].Mallocs > 0 { // known of Go programs of ours
			b.ReportMetric(float64(used[side].Mallocs)/n, t.name+"-allocs/call")
			b.ReportMetric(float64(used[side].Bytes)/n, t.name+"-B/call")
		}
	}
	c.ratios(latency, "p50")
	c.ratios(rate, "calls/s")
}

// hammer spreads calls over connections that each make one at a time.
func hammer(b *testing.B, clients []*client, body []byte, calls int) (samples, time.Duration) {
	b.Helper()
	took := make([]samples, len(clients))
	var all errgroup.Group
	t0 := time.Now()
	for i, c := range clients {
		all.Go(func() error {
			request := c.request(body)
			for range calls / len(clients) {
				d, err := c.try(request)
				if c.again(err) {
					d, err = c.try(request)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				took[i].add(d)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
	elapsed := time.Since(t0)
	var out samples
	for _, s := range took {
		out = append(out, s...)
	}
	return out, elapsed
}
