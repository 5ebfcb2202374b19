//go:build linux

package bench

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/session"
)

// benchmarkResolve measures what the gateway does first with every
// invocation: find the version for an id. Cold, it is read from the database;
// after that from the catalog's memory: one id again and again, or all of
// them, which no processor cache holds, compared with a bare look-up in a
// sync.Map of as many. A sample is the mean of a thousand: no clock is finer,
// and what takes longer is interrupted by whatever else the machine does.
func benchmarkResolve(b *testing.B, path string) {
	agents := openCatalog(b, path)
	ids := make([]string, controlRuntimes)
	bare := new(sync.Map)
	var cold series
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range ids {
		ids[i] = string(controlID(i))
		start := time.Now()
		if _, err := agents.Resolve(b.Context(), ids[i], ""); err != nil {
			b.Fatal(err)
		}
		cold.all.add(time.Since(start))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for _, id := range ids {
		bare.Store(id, &id)
	}
	const few = 1000
	one := slices.Repeat(ids[:1], len(ids))
	type side struct {
		name    string
		ids     []string
		cached  bool
		workers int
		series
		allocations float64
	}
	var sides []side
	for _, cached := range []bool{false, true} {
		name := "map"
		if cached {
			name = "cached"
		}
		sides = append(sides,
			side{name: name + "-one", ids: one, cached: cached, workers: 1},
			side{name: name + "-all", ids: ids, cached: cached, workers: 1},
			side{name: name + "-all-parallel", ids: ids, cached: cached, workers: runtime.GOMAXPROCS(0)})
	}
	u := newBudget(10 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		inTurn(u.rounds, len(sides), func(i int) {
			side := &sides[i]
			runtime.ReadMemStats(&before)
			find := func(id string) bool { _, ok := bare.Load(id); return ok }
			if side.cached {
				find = func(id string) bool { t, err := agents.Resolve(b.Context(), id, ""); return err == nil && t != nil }
			}
			var took samples
			for some := range slices.Chunk(side.ids, few) {
				took = append(took, float64(lookUp(b, some, side.workers, find))/few)
			}
			runtime.ReadMemStats(&after)
			side.allocations += float64(after.Mallocs-before.Mallocs) / float64(len(ids)*side.workers)
			side.round(took)
		})
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	cold.times(b, "cold", time.Microsecond)
	for i, side := range sides {
		b.ReportMetric(side.all.median(), side.name+"-p50-ns")
		b.ReportMetric(side.all.quantile(0.99), side.name+"-p99-ns")
		if side.cached {
			base := sides[i-len(sides)/2]
			b.ReportMetric(side.over(&base.series), side.name+"/"+base.name)
			b.ReportMetric(side.allocations/float64(u.rounds), side.name+"-allocs")
		}
	}
}

// lookUp has each of so many goroutines look up every id once.
func lookUp(b *testing.B, ids []string, workers int, find func(id string) bool) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			for i := range ids {
				if !find(ids[(i+w*len(ids)/workers)%len(ids)]) {
					b.Error("not found")
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// openCatalog opens a catalog of which no image was built and no session runs.
func openCatalog(b *testing.B, path string) *catalog.Catalog {
	b.Helper()
	store := openStore(b, path)
	sessions, err := session.Open(b.Context(), session.Config{Driver: &sandboxtest.Fake{}, Store: store, LogDir: tempDir(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sessions.Close() })
	c, err := catalog.Open(b.Context(), catalog.Config{
		Store: store, Builder: images{}, Sessions: sessions, TempDir: tempDir(b), Logger: slog.New(slog.DiscardHandler),
		Driver: sandbox.Capabilities{OwnRoot: true}, Locality: isolde.Locality{Region: "us-east-1", Account: "123456789012"},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// images is an image.Builder that has built every image.
type images struct{ image.Builder }

// Open implements image.Builder.
func (images) Open(_ context.Context, digest string) (image.Image, error) {
	return image.Image{Digest: digest, Env: []string{"PATH=/usr/bin", "LANG=C.UTF-8"}, Command: []string{"python3", "agent.py"}}, nil
}
