//go:build linux

package network

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/isolde-run/isolde/internal/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Addresses of the test's internet, all on one machine.
var (
	publicAddr   = netip.MustParseAddr("203.0.113.2")
	privateAddr  = netip.MustParseAddr("10.99.0.1")
	metadataAddr = netip.MustParseAddr("169.254.169.254")
	resolverAddr = netip.MustParseAddr("10.255.255.53")
	hostAddr     = netip.MustParseAddr("203.0.113.1")
)

// world is a host and an internet of the test's own, each a namespace:
//
//	router ── uplink ── host 203.0.113.1 ── 203.0.113.2 internet
type world struct {
	host, internet *namespace
}

func newWorld(t *testing.T) *world {
	t.Helper()
	need.NetNS(t)
	w := &world{host: newTestNamespace(t, "host"), internet: newTestNamespace(t, "internet")}
	must(t, w.host.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.Flags = "wan", 1400, net.FlagUp
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "wan", PeerNamespace: netlink.NsFd(w.internet.fd)}
		return errors.Join(
			setUp("lo"),
			netlink.LinkAdd(veth),
			netlink.AddrAdd(veth, address(hostAddr, 24)),
		)
	}))
	must(t, w.internet.do(func() error {
		lo, err1 := netlink.LinkByName("lo")
		wan, err2 := netlink.LinkByName("wan")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return errors.Join(
			netlink.LinkSetUp(lo),
			netlink.LinkSetUp(wan),
			netlink.AddrAdd(wan, address(publicAddr, 24)),
			netlink.AddrAdd(lo, address(privateAddr, 32)),
			netlink.AddrAdd(lo, address(metadataAddr, 32)),
			netlink.AddrAdd(lo, address(resolverAddr, 32)),
		)
	}))
	must(t, w.host.do(func() error { return netlink.RouteAdd(&netlink.Route{Gw: publicAddr.AsSlice()}) }))
	return w
}

// open opens a router whose leftovers are checked when the test ends.
func (w *world) open(t *testing.T) *Router {
	t.Helper()
	r, err := Open(context.Background(), w.config(t))
	must(t, err)
	t.Cleanup(func() {
		for _, id := range r.Links() {
			if err := r.Detach(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		w.checkNothingLeft(t, r.cfg.Dir)
	})
	return r
}

func (w *world) config(t *testing.T) Config {
	return Config{
		Name: "test", Dir: filepath.Join(t.TempDir(), "net"), HostNamespace: w.host.path,
		NameServers: []netip.Addr{resolverAddr}, Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) checkNothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left after Close: %v", left)
	}
	must(t, w.host.do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if name := l.Attrs().Name; name != "lo" && name != "wan" {
				t.Errorf("left after Close: link %s of the host", name)
			}
		}
		return err
	}))
	c, err := nftables.New(nftables.WithNetNSFd(w.host.fd))
	must(t, err)
	tables, err := c.ListTables()
	must(t, err)
	for _, table := range tables {
		t.Errorf("left after Close: table %s of the host", table.Name)
	}
}

func newTestNamespace(t *testing.T, name string) *namespace {
	t.Helper()
	ns, err := newNamespace(filepath.Join(t.TempDir(), name), disableIPv6)
	must(t, err)
	t.Cleanup(func() {
		ns.close()
		if err := unmountNamespace(ns.path); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// inside opens a link's namespace.
func inside(t *testing.T, l *Link) *namespace {
	t.Helper()
	ns, err := openNamespace(l.Path)
	must(t, err)
	t.Cleanup(ns.close)
	return ns
}

// serve answers TCP connections and datagrams to an address in a namespace
// with "hello".
func serve(t *testing.T, ns *namespace, addr string) {
	t.Helper()
	must(t, ns.do(func() error {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		p, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		done := make(chan struct{}, 2)
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("hello"))
				c.Close()
			}
		}()
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				_, from, err := p.ReadFrom(make([]byte, 64))
				if err != nil {
					return
				}
				_, _ = p.WriteTo([]byte("hello"), from)
			}
		}()
		t.Cleanup(func() {
			l.Close()
			p.Close()
			<-done
			<-done
		})
		return nil
	}))
}

// reach connects from a namespace and reads the "hello". Out of reach means
// that no answer came in time or that the kernel refused.
func reach(from *namespace, network, addr string) (ok bool) {
	_ = from.do(func() error {
		c, err := net.DialTimeout(network, addr, 300*time.Millisecond)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if network == "udp4" {
			if _, err := c.Write([]byte("hi")); err != nil {
				return err
			}
		}
		b := make([]byte, 5)
		n, _ := c.Read(b)
		ok = string(b[:n]) == "hello"
		return nil
	})
	return ok
}

func address(a netip.Addr, bits int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
