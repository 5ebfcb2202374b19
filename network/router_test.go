//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

var (
	none     = isolde.Network{Egress: isolde.EgressNone}
	internet = isolde.Network{Egress: isolde.EgressInternet}
)

func attach(t *testing.T, r *Router, id string, policy isolde.Network) *Link {
	t.Helper()
	l, err := r.Attach(context.Background(), id, policy)
	must(t, err)
	return l
}

func TestDialReachesTheSandbox(t *testing.T) {
	r := newWorld(t).open(t)
	a, b := attach(t, r, "a", none), attach(t, r, "b", none)
	if a.Addr == b.Addr {
		t.Fatalf("two links have the address %s", a.Addr)
	}
	serve(t, inside(t, a), "0.0.0.0:8080")

	c, err := r.Dial(context.Background(), netip.AddrPortFrom(a.Addr, 8080))
	must(t, err)
	defer c.Close()
	if got, err := io.ReadAll(c); string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	_, err = r.Dial(context.Background(), netip.AddrPortFrom(b.Addr, 8080))
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial to a port nobody listens on: %v, want ECONNREFUSED", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	r := newWorld(t).open(t)
	attach(t, r, "a", internet) // makes the uplink, behind which nobody answers
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := r.Dial(ctx, netip.MustParseAddrPort("203.0.113.99:80"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial: %v, want the context's error", err)
	}
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	for _, addr := range []netip.Addr{publicAddr, privateAddr, metadataAddr, resolverAddr} {
		serve(t, w.internet, addr.String()+":80")
	}
	serve(t, w.internet, resolverAddr.String()+":53")
	serve(t, w.host, "0.0.0.0:80")
	serve(t, r.ns, "0.0.0.0:80")
	open, other, closed := attach(t, r, "open", internet), attach(t, r, "other", internet), attach(t, r, "closed", none)
	serve(t, inside(t, other), "0.0.0.0:80")

	uplinkHost := ""
	must(t, w.host.do(func() error {
		i, err := net.InterfaceByName(r.hostLink())
		if err != nil {
			return err
		}
		addrs, err := i.Addrs()
		uplinkHost, _, _ = strings.Cut(addrs[0].String(), "/")
		return err
	}))

	fromOpen, fromClosed := inside(t, open), inside(t, closed)
	var checks sync.WaitGroup
	for _, test := range []struct {
		what, addr string
		open       bool // within reach of policy "internet"; nothing is of "none"
	}{
		{"a public address", publicAddr.String() + ":80", true},
		{"the resolver", resolverAddr.String() + ":53", true},
		{"another port of the resolver", resolverAddr.String() + ":80", false},
		{"a private address", privateAddr.String() + ":80", false},
		{"the metadata service", metadataAddr.String() + ":80", false},
		{"the host's public address", hostAddr.String() + ":80", false},
		{"the host's end of the uplink", uplinkHost + ":80", false},
		{"the router", open.Gateway.String() + ":80", false},
		{"another sandbox", other.Addr.String() + ":80", false},
		{"another sandbox's gateway", other.Gateway.String() + ":80", false},
	} {
		for _, network := range []string{"tcp4", "udp4"} {
			checks.Go(func() {
				if got := reach(fromOpen, network, test.addr); got != test.open {
					t.Errorf("internet: %s (%s %s) within reach: %v, want %v", test.what, network, test.addr, got, test.open)
				}
			})
			checks.Go(func() {
				if reach(fromClosed, network, test.addr) {
					t.Errorf("none: %s (%s %s) is within reach", test.what, network, test.addr)
				}
			})
		}
	}
	checks.Wait()
	// What the test asks about does answer.
	if !reach(w.internet, "tcp4", hostAddr.String()+":80") || !reach(r.ns, "tcp4", open.Gateway.String()+":80") || !reach(r.ns, "tcp4", other.Addr.String()+":80") {
		t.Error("the test's own listeners do not answer")
	}
}

func TestForgedSourceIsDropped(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	a, b := attach(t, r, "a", internet), attach(t, r, "b", internet)
	var p net.PacketConn
	must(t, w.internet.do(func() (err error) {
		p, err = net.ListenPacket("udp4", publicAddr.String()+":80")
		return err
	}))
	defer p.Close()
	ns := inside(t, a)
	for _, source := range []netip.Addr{b.Addr, a.Gateway, netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("198.51.100.7")} {
		must(t, sendFrom(ns, source, publicAddr, "forged "+source.String()))
	}
	must(t, sendFrom(ns, a.Addr, publicAddr, "genuine"))
	must(t, p.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 64)
	n, _, err := p.ReadFrom(buf)
	must(t, err)
	if got := string(buf[:n]); got != "genuine" {
		t.Errorf("first datagram is %q", got)
	}
}

// TestFlowsOfALinkAreBounded, so that one sandbox cannot fill the host's table
// of connections.
func TestFlowsOfALinkAreBounded(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	serve(t, w.internet, publicAddr.String()+":80")
	a, b := attach(t, r, "a", internet), attach(t, r, "b", internet)
	const sent = maxFlows + 1000
	must(t, inside(t, a).do(func() error {
		p, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer p.Close()
		for i := range sent {
			if _, err := p.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(203, 0, 113, 99), Port: 1000 + i}); err != nil {
				return err
			}
		}
		return nil
	}))
	var flows []byte
	must(t, r.ns.do(func() (err error) {
		flows, err = os.ReadFile("/proc/thread-self/net/stat/nf_conntrack")
		return err
	}))
	entries, err := strconv.ParseInt(strings.Fields(strings.Split(string(flows), "\n")[1])[0], 16, 64)
	if err != nil || entries > maxFlows+10 || entries < maxFlows/2 {
		t.Errorf("%d connections are remembered, %v; want %d", entries, err, maxFlows)
	}
	if reach(inside(t, a), "tcp4", publicAddr.String()+":80") {
		t.Error("the link has one connection more")
	}
	if !reach(inside(t, b), "tcp4", publicAddr.String()+":80") {
		t.Error("the neighbour has none")
	}
}

// sendFrom sends a datagram to port 80 with any source address.
func sendFrom(ns *namespace, src, dst netip.Addr, payload string) error {
	return ns.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		s, d := src.As4(), dst.As4()
		udp := append([]byte{0x30, 0x39, 0, 80, 0, byte(8 + len(payload)), 0, 0}, payload...)
		ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
		ip = append(append(ip, s[:]...), d[:]...) // the kernel fills the checksum in
		return unix.Sendto(fd, append(ip, udp...), 0, &unix.SockaddrInet4{Addr: d})
	})
}

func TestFiftyAtOnce(t *testing.T) {
	r := newWorld(t).open(t)
	var wg sync.WaitGroup
	links := make([]*Link, 50)
	for i := range links {
		wg.Go(func() {
			l, err := r.Attach(context.Background(), fmt.Sprintf("s%d", i), []isolde.Network{none, internet}[i%2])
			if err != nil {
				t.Error(err)
				return
			}
			links[i] = l
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	seen := map[netip.Addr]bool{}
	for _, l := range links {
		seen[l.Addr], seen[l.Gateway] = true, true
		wg.Go(func() {
			if _, err := r.Dial(context.Background(), netip.AddrPortFrom(l.Addr, 1)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("dial %s: %v", l.ID, err)
			}
			if err := errors.Join(r.Detach(context.Background(), l.ID), r.Detach(context.Background(), l.ID)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(seen) != 100 {
		t.Errorf("50 links have %d addresses, want 100", len(seen))
	}
	if left := r.Links(); len(left) > 0 {
		t.Errorf("links after Detach: %v", left)
	}
}

func TestANewServerFindsLinks(t *testing.T) {
	w := newWorld(t)
	cfg := w.config(t)
	old, err := Open(context.Background(), cfg)
	must(t, err)
	want := attach(t, old, "kept", internet)
	serve(t, inside(t, want), "0.0.0.0:8080")
	serve(t, w.internet, publicAddr.String()+":80")
	must(t, old.Close())
	must(t, old.Close())
	if _, err := old.Attach(context.Background(), "late", none); !errors.Is(err, net.ErrClosed) {
		t.Errorf("attach after Close: %v, want net.ErrClosed", err)
	}

	r, err := Open(context.Background(), cfg)
	must(t, err)
	got, ok := r.Find("kept")
	if !ok {
		t.Fatal("the link was not found")
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("found link differs (-want +got):\n%s", diff)
	}
	c, err := r.Dial(context.Background(), netip.AddrPortFrom(got.Addr, 8080))
	must(t, err)
	c.Close()
	if !reach(inside(t, got), "tcp4", publicAddr.String()+":80") {
		t.Error("the link lost the internet")
	}
	_, err = r.Attach(context.Background(), "kept", none)
	if isolde.CodeOf(err) != isolde.CodeConflict {
		t.Errorf("attach with an id in use: %v, want a conflict", err)
	}
	must(t, r.Detach(context.Background(), "kept"))
	must(t, r.Close())
	w.checkNothingLeft(t, cfg.Dir)
}

func TestAFailedAttachLeavesNothing(t *testing.T) {
	r := newWorld(t).open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Attach(ctx, "a", none); !errors.Is(err, context.Canceled) {
		t.Errorf("attach: %v, want the context's error", err)
	}
	for _, id := range []string{"", "uplink", "lo", "../a", "sixteen-bytes-xx", "A"} {
		if _, err := r.Attach(context.Background(), id, none); err == nil {
			t.Errorf("attach with id %q succeeded", id)
		}
	}
	_, err := r.Attach(context.Background(), "b", isolde.Network{Egress: "everything"})
	if isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Errorf("attach with an unknown policy: %v", err)
	}
	if left := r.Links(); len(left) > 0 {
		t.Errorf("links: %v", left)
	}
}

func TestAFullPrefixIsAQuota(t *testing.T) {
	w := newWorld(t)
	cfg := w.config(t)
	cfg.Prefix = netip.MustParsePrefix("10.1.2.0/29")
	r, err := Open(context.Background(), cfg)
	must(t, err)
	for i := range 3 {
		attach(t, r, fmt.Sprintf("s%d", i), none)
	}
	_, err = r.Attach(context.Background(), "more", none)
	if isolde.CodeOf(err) != isolde.CodeQuota {
		t.Errorf("attach: %v, want a quota error", err)
	}
	for _, id := range r.Links() {
		must(t, r.Detach(context.Background(), id))
	}
	must(t, r.Close())
	w.checkNothingLeft(t, cfg.Dir)
}

func TestProbe(t *testing.T) {
	need.NetNS(t)
	must(t, Probe())
}

func BenchmarkAttachDetach(b *testing.B) {
	need.NetNS(b)
	for _, policy := range []isolde.Network{none} {
		b.Run(string(policy.Egress), func(b *testing.B) {
			r, err := Open(context.Background(), Config{Name: "bench", Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			var detach time.Duration
			for b.Loop() {
				if _, err := r.Attach(context.Background(), "s", policy); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				if err := r.Detach(context.Background(), "s"); err != nil {
					b.Fatal(err)
				}
				detach += time.Since(start)
			}
			b.ReportMetric(float64(detach.Microseconds())/float64(b.N), "detach-µs/op")
		})
	}
}
