//go:build linux

package bench

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
)

// BenchmarkSessions holds many sessions in one server: memory of each, what
// their pings cost, admission under contention, and the start of a server that
// finds them all again. Agents take no part: they are a few bytes each that
// answer whatever is asked.
func BenchmarkSessions(b *testing.B) {
	const sessions = 100_000
	dir := b.TempDir()
	store, err := sqlite.Open(b.Context(), filepath.Join(dir, "isolde.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if _, err := store.CreateRuntime(b.Context(), isolde.Once{}, isolde.AgentRuntime{ID: crowdAgent, Name: "crowd"}, isolde.Version{Runtime: crowdAgent, Number: 1}, nil); err != nil {
		b.Fatal(err)
	}
	driver := &crowdDriver{}
	cfg := session.Config{Driver: driver, Store: store, LogDir: filepath.Join(dir, "logs"), MaxSessions: sessions, Logger: slog.New(slog.DiscardHandler)}
	empty := heap()
	m, err := session.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	launch := &session.Launch{Version: 1, Spec: sandbox.Spec{Ports: []int{8080}}}
	start := time.Now()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < sessions; i += 64 {
				l, err := m.Acquire(b.Context(), crowdKey(i), launch)
				if err != nil {
					b.Error(err)
					return
				}
				l.Release()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(sessions)/time.Since(start).Seconds(), "starts/s")
	time.Sleep(5 * time.Second) // records are written, and each was pinged
	b.ReportMetric(float64(heap()-empty)/sessions, "B/session")
	before, pings := cpu(), driver.pings()
	time.Sleep(10 * time.Second)
	n := float64(driver.pings() - pings)
	b.ReportMetric(float64(cpu()-before)/float64(10*time.Second), "cores")
	b.ReportMetric(n/10, "pings/s")
	b.ReportMetric(float64(cpu()-before)/n/1e3, "us/ping")
	admission(b, m, launch, sessions)
	noTime(b)

	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	start = time.Now()
	if m, err = session.Open(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "open-s")
	if n := len(m.Sessions()); n != sessions {
		b.Errorf("%d sessions found again", n)
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
}

const crowdAgent = "crowd-0123456789"

func crowdKey(i int) isolde.SessionKey {
	return isolde.SessionKey{Runtime: crowdAgent, Session: isolde.SessionID(fmt.Sprintf("session-%030d", i))}
}

// admission measures what an invocation pays to enter its session and leave,
// on as many goroutines as there are processors, each in all sessions in turn,
// and on all of them in one session.
func admission(b *testing.B, m *session.Manager, launch *session.Launch, sessions int) {
	for name, key := range map[string]func(i int) isolde.SessionKey{
		"each": crowdKey,
		"one":  func(int) isolde.SessionKey { return crowdKey(0) },
	} {
		keys := make([]isolde.SessionKey, 10_000)
		for i := range keys {
			keys[i] = key(i * (sessions / len(keys)))
		}
		all := make([]samples, runtime.GOMAXPROCS(0))
		var wg sync.WaitGroup
		for w := range all {
			wg.Go(func() {
				for range 10 {
					for i := range len(keys) / 10 { // a clock is no finer than ten
						start := time.Now()
						for j := range 10 {
							l, err := m.Acquire(context.Background(), keys[(10*i+j+w*5000)%len(keys)], launch)
							if err != nil {
								b.Error(err)
								return
							}
							l.Release()
						}
						all[w].add(time.Since(start) / 10)
					}
				}
			})
		}
		wg.Wait()
		var s series
		for _, one := range all {
			s.round(one)
		}
		s.times(b, name, time.Microsecond)
	}
}

// heap is what the process holds in memory, stacks included.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return int64(ms.HeapInuse + ms.StackInuse)
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
