//go:build linux

package gvisor

import (
	"strconv"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// BenchmarkSession starts the suite's agent, a static Go executable, dials it
// until it accepts, and stops it; alone, with a volume that is there already,
// and with one that has to be made.
//
//	go test -run '^$' -bench Session ./sandbox/gvisor
func BenchmarkSession(b *testing.B) {
	b.Run("alone", func(b *testing.B) { benchmarkSession(b, func(sandbox.Spec, int) []sandbox.Volume { return nil }) })
	b.Run("volume", func(b *testing.B) {
		benchmarkSession(b, func(spec sandbox.Spec, _ int) []sandbox.Volume {
			return []sandbox.Volume{{Path: "/mnt/data", File: spec.LogFile + ".ext4", Bytes: 1 << 30}}
		})
	})
	b.Run("new-volume", func(b *testing.B) {
		benchmarkSession(b, func(spec sandbox.Spec, n int) []sandbox.Volume {
			return []sandbox.Volume{{Path: "/mnt/data", File: spec.LogFile + strconv.Itoa(n) + ".ext4", Bytes: 1 << 30}}
		})
	})
}

func benchmarkSession(b *testing.B, volumes func(spec sandbox.Spec, n int) []sandbox.Volume) {
	a := newAgents(b)
	var start, accept, stop time.Duration
	var memory int64
	for n := 0; b.Loop(); n++ {
		spec := a.spec(isolde.Resources{})
		spec.Volumes = volumes(spec, n)
		t0 := time.Now()
		s, err := a.Start(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		for {
			if c, err := s.Dial(b.Context(), 8080); err == nil {
				c.Close()
				break
			}
			time.Sleep(time.Millisecond)
		}
		t2 := time.Now()
		stats, err := s.Stats(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		memory += stats.MemoryBytes
		t3 := time.Now()
		if err := s.Stop(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
		start, accept, stop = start+t1.Sub(t0), accept+t2.Sub(t0), stop+time.Since(t3)
	}
	n := float64(b.N)
	b.ReportMetric(start.Seconds()*1e3/n, "start-ms")
	b.ReportMetric(accept.Seconds()*1e3/n, "accept-ms")
	b.ReportMetric(stop.Seconds()*1e3/n, "stop-ms")
	b.ReportMetric(float64(memory)/n/(1<<20), "MiB")
}
