//go:build linux

package bench

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/isolde-run/isolde"
)

// BenchmarkHold measures the most memory that the server had resident, in MB
// of 10^6 bytes, while it carried many things at once: 1,000 event streams,
// 20 bodies of 100 MB up, and 20 answers of 100 MB down; and what it
// allocated for each. The reference proxy carries the same.
func BenchmarkHold(b *testing.B) {
	const streams, bodies = 1000, 20
	c := startCarrying(b, "process")
	up, down := make([]byte, isolde.MaxPayload), fmt.Appendf(nil, `{"bytes":%d}`, isolde.MaxPayload)
	answer := int64(len(fmt.Sprintf(`{"received":%d}`, isolde.MaxPayload)))
	metrics := make(map[string]float64)
	for _, side := range []int{gateway, proxy} {
		t := c.routes[side]
		clients := make([]*client, streams)
		for i := range clients {
			clients[i] = dial(b, t)
			defer clients[i].close()
		}
		move := func(body []byte, back int64) {
			var all errgroup.Group
			for _, one := range clients[:bodies] {
				all.Go(func() error {
					_, err := one.move(body, back, make([]byte, 256<<10))
					return err
				})
			}
			if err := all.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		measure := func(what string, n int, carry func()) {
			pid := c.pids[side]()[0]
			resetPeak(b, pid)
			before := c.used[side]()
			carry()
			after := c.used[side]()
			metrics[fmt.Sprintf("%s-%d-%s-MB", t.name, n, what)] = field(b, fmt.Sprintf("/proc/%d/status", pid), "VmHWM:") / 1e6
			metrics[t.name+"-"+what+"-kB-allocated"] = float64(after.Bytes-before.Bytes) / float64(n) / 1e3
		}
		measure("calls", 6400, func() { hammer(b, clients[:32], hello, 6400) })
		measure("streams", streams, func() { listen(b, clients) })
		measure("up", bodies, func() { move(up, answer) })
		measure("down", bodies, func() { move(down, isolde.MaxPayload) })
	}
	for b.Loop() { // the peak of one round is the figure
	}
	noTime(b)
	for name, value := range metrics {
		b.ReportMetric(value, name)
	}
}

// resetPeak makes a process's peak what it has resident now.
func resetPeak(b *testing.B, pid int) {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}
