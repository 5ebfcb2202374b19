//go:build linux

package gvisor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
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
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	inNamespace(t, host, func() error { return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(203, 0, 113, 2)}) })

	a := &agents{root: sandboxtest.NewRoot(t, sandboxtest.BuildAgent(t)), dir: sandboxtest.TempDir(t)}
	a.Driver = openIn(t, a.dir, network.Config{HostNamespace: host, NameServers: []netip.Addr{netip.MustParseAddr("203.0.113.2")}})
	t.Cleanup(func() {
		a.Close()
		a.checkGone(t)
	})
	for _, c := range []struct {
		egress  isolde.Egress
		address string
		open    bool
	}{
		{isolde.EgressInternet, "203.0.113.2:80", true},
		{isolde.EgressInternet, "10.99.0.1:80", false},
		{isolde.EgressInternet, "203.0.113.1:80", false},
		{isolde.EgressNone, "203.0.113.2:80", false},
	} {
		s := a.startWith(t, func(spec *sandbox.Spec) { spec.Network.Egress = c.egress })
		_, err := do(t.Context(), s, order.Order{Do: "dial", Address: c.address, Millis: 1000})
		if (err == nil) != c.open {
			t.Errorf("egress %s: dial %s: %v; within reach must be %v", c.egress, c.address, err, c.open)
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
