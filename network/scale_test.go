//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/internal/need"
)

// BenchmarkLinks does the same among few links and among many: attach and
// detach one, dial a sandbox, and resolve a name of a list. Every link has a
// list and an address open. Beforehand each sandbox is dialed once, so that a
// table of the kernel that is too small for all of them fails the benchmark.
//
//	go test ./network -run - -bench Links -benchtime 200x
func BenchmarkLinks(b *testing.B) {
	need.NetNS(b)
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) { benchmarkLinks(b, n) })
	}
}

func benchmarkLinks(b *testing.B, n int) {
	r, err := Open(b.Context(), Config{Name: "links", Dir: filepath.Join(b.TempDir(), "net"), HostNamespace: benchHost(b), NameServers: []netip.Addr{resolverAddr}})
	must(b, err)
	defer func() {
		must(b, each(r.Links(), func(id string) error { return r.Detach(context.Background(), id) }))
		must(b, r.Close())
	}()
	policy := list("*.example.test", "10.99.0.0/16:443")
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("s%d", i)
	}
	start := time.Now()
	must(b, each(ids, func(id string) error {
		_, err := r.Attach(context.Background(), id, policy)
		return err
	}))
	b.ReportMetric(float64(time.Since(start).Microseconds())/float64(n), "setup-µs/link")
	must(b, each(ids, func(id string) error {
		l, _ := r.Find(id)
		r.listsMu.Lock()
		listed := r.listed[id]
		r.listsMu.Unlock()
		if err := r.resolver.openFor(listed, []opening{{addr: publicAddr}}); err != nil {
			return err
		}
		return refused(r, l)
	}))
	first, _ := r.Find(ids[0])
	ns, err := openNamespace(first.Path)
	must(b, err)
	defer ns.close()
	b.Run("attach", func(b *testing.B) {
		for b.Loop() {
			_, err := r.Attach(b.Context(), "one-more", policy)
			must(b, err)
			b.StopTimer()
			must(b, r.Detach(b.Context(), "one-more"))
			b.StartTimer()
		}
	})
	b.Run("dial", func(b *testing.B) {
		for b.Loop() {
			must(b, refused(r, first))
		}
	})
	b.Run("refused-name", func(b *testing.B) {
		for b.Loop() {
			if m := ask(b, first, ns, "udp4", "evil.test.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
				b.Fatal(m)
			}
			b.StopTimer()
			time.Sleep(time.Second / lookupsPerSecond)
			b.StartTimer()
		}
	})
	c, err := nftables.New(nftables.WithNetNSFd(r.ns.fd))
	must(b, err)
	chains, err := c.ListChains()
	must(b, err)
	rules := 0
	for _, ch := range chains {
		found, err := c.GetRules(ch.Table, ch)
		must(b, err)
		rules += len(found)
	}
	b.ReportMetric(float64(rules), "rules")
}

// refused dials a port of a sandbox where nobody listens.
func refused(r *Router, l *Link) error {
	if _, err := r.Dial(context.Background(), netip.AddrPortFrom(l.Addr, 1)); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("dial %s: %w", l.ID, err)
	}
	return nil
}

// each runs f for all ids, some at once.
func each(ids []string, f func(id string) error) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for part := range slices.Chunk(ids, max(1, len(ids)/16)) {
		all.Go(func() {
			for _, id := range part {
				if err := f(id); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// benchHost is a host without a way out.
func benchHost(b *testing.B) string {
	path := filepath.Join(b.TempDir(), "host")
	ns, err := newNamespace(path, disableIPv6)
	must(b, err)
	b.Cleanup(func() {
		ns.close()
		must(b, unmountNamespace(path))
	})
	return path
}
