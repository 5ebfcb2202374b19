//go:build linux

package gvisor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// TestEgress reaches from gVisor's network stack through the router and a
// host of the test's own to an internet of the test's own.
func TestEgress(t *testing.T) {
	need.GVisor(t)
	host, internet := newNamespace(t), newNamespace(t)
	inNamespace(t, host, func() error {
		ns, err := netns.GetFromPath(internet)
		if err != nil {
			return err
		}
		defer ns.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Flags = "wan", net.FlagUp
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "wan", PeerNamespace: netlink.NsFd(ns)}
		return errors.Join(netlink.LinkAdd(veth), setAddress(veth, "203.0.113.1/24"))
	})
	inNamespace(t, internet, func() error {
		wan, err := netlink.LinkByName("wan")
		if err != nil {
			return err
		}
		if err := errors.Join(setAddress(wan, "203.0.113.2/24"), setAddress(wan, "10.99.0.1/32"), netlink.LinkSetUp(wan)); err != nil {
			return err
		}
		l, err := net.Listen("tcp4", ":80") // the kernel accepts
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		p, err := net.ListenPacket("udp4", "203.0.113.2:53")
		if err != nil {
			return err
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			serveNames(p)
		}()
		t.Cleanup(func() {
			p.Close()
			<-served
		})
		return nil
	})
	inNamespace(t, host, func() error { return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(203, 0, 113, 2)}) })

	a := &agents{root: sandboxtest.NewRoot(t, sandboxtest.BuildAgent(t)), dir: sandboxtest.TempDir(t)}
	a.Driver = openIn(t, a.dir, network.Config{HostNamespace: host, NameServers: []netip.Addr{netip.MustParseAddr("203.0.113.2")}})
	t.Cleanup(func() {
		a.Close()
		a.checkGone(t)
	})
	type dial struct {
		address string
		open    bool
	}
	for _, c := range []struct {
		network isolde.Network
		dials   []dial // in this order
	}{
		{isolde.Network{Egress: isolde.EgressInternet}, []dial{{"203.0.113.2:80", true}, {"10.99.0.1:80", false}, {"203.0.113.1:80", false}, {"api.example.test:80", true}}},
		{isolde.Network{Egress: isolde.EgressNone}, []dial{{"203.0.113.2:80", false}, {"api.example.test:80", false}}},
		{
			isolde.Network{Egress: isolde.EgressList, Allow: []string{"*.example.test", "10.99.0.0/24:80"}},
			[]dial{{"203.0.113.2:80", false}, {"evil.test:80", false}, {"api.example.test:80", true}, {"203.0.113.2:80", true}, {"10.99.0.1:80", true}, {"203.0.113.1:80", false}},
		},
	} {
		s := a.startWith(t, func(spec *sandbox.Spec) { spec.Network = c.network })
		for _, d := range c.dials {
			_, err := do(t.Context(), s, order.Order{Do: "dial", Address: d.address, Millis: 1000})
			if (err == nil) != d.open {
				t.Errorf("egress %s: dial %s: %v; within reach must be %v", c.network.Egress, d.address, err, d.open)
			}
		}
	}
	log, err := os.ReadFile(filepath.Join(a.dir, "log"))
	if err != nil || !strings.Contains(string(log), `isolde: egress to "evil.test" was refused`) {
		t.Errorf("the log, %v:\n%s", err, log)
	}
}

// serveNames answers every question for an address with 203.0.113.2.
func serveNames(p net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil {
			continue
		}
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{203, 0, 113, 2}}}}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = p.WriteTo(answer, from)
		}
	}
}

func setAddress(l netlink.Link, cidr string) error {
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(l, a)
}

// newNamespace mounts a network namespace for the test and returns its path.
func newNamespace(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	onThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

func inNamespace(t *testing.T, path string, f func() error) {
	t.Helper()
	onThread(t, func() error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
