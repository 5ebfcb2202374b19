//go:build linux

package network

import (
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/isolde-run/isolde"
)

// TestAnUnfinishedUplinkIsMadeAgain: a server was killed while it made one.
func TestAnUnfinishedUplinkIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	before, err := Open(t.Context(), w.config(t))
	must(t, err)
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: before.hostLink(), PeerNamespace: netlink.NsFd(w.host.fd)}
	veth.Name = uplinkName
	must(t, before.handle.LinkAdd(veth))
	before.closed = true // and gone, without a Close
	before.release()

	cfg := before.cfg
	after, err := Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := after.Detach(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if err := after.Close(); err != nil {
			t.Error(err)
		}
		w.checkNothingLeft(t, cfg.Dir)
	})
	_, err = after.Attach(t.Context(), "a", isolde.Network{Egress: isolde.EgressInternet})
	must(t, err)
	routes, err := after.handle.RouteList(nil, netlink.FAMILY_V4)
	must(t, err)
	found := false
	for _, route := range routes {
		found = found || route.Gw != nil
	}
	if !found {
		t.Errorf("the router has no way out: %v", routes)
	}
	must(t, w.host.do(func() error {
		links, err := netlink.LinkByName(after.hostLink())
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(links, netlink.FAMILY_V4)
		if len(addrs) != 1 {
			t.Errorf("addresses of the host's end: %v", addrs)
		}
		return err
	}))
}

// TestServersChooseTheirOwnAddresses: uplinks of servers that start at once
// must not share addresses on the host.
func TestServersChooseTheirOwnAddresses(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	names := []string{"one", "two", "three", "four", "five", "six"}
	routers := make([]*Router, len(names))
	for i, name := range names {
		cfg := w.config(t)
		cfg.Name, cfg.Dir = name, filepath.Join(dir, name)
		r, err := Open(t.Context(), cfg)
		must(t, err)
		routers[i] = r
	}
	var all sync.WaitGroup
	for _, r := range routers {
		all.Go(func() {
			if err := r.ensureUplink(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must(t, w.host.do(func() error {
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
		seen := map[netip.Addr]bool{}
		for _, a := range addrs {
			if at := addrOf(a.IP); uplinkPrefix.Contains(at) {
				if seen[at] {
					t.Errorf("two uplinks have %s", at)
				}
				seen[at] = true
			}
		}
		if len(seen) != len(names) {
			t.Errorf("%d addresses for %d uplinks", len(seen), len(names))
		}
		return err
	}))
	for _, r := range routers {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	w.checkNothingLeft(t, filepath.Join(dir, "one"))
}

// TestHostRulesComeBack after somebody has emptied the host's firewall.
func TestHostRulesComeBack(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	must(t, r.ensureUplink())
	c, err := nftables.New(nftables.WithNetNSFd(w.host.fd))
	must(t, err)
	c.FlushRuleset()
	must(t, c.Flush())
	must(t, r.ensureUplink())
	chains, err := c.ListChains()
	must(t, err)
	if len(chains) != 3 {
		t.Errorf("the host has %d chains of the server's, want 3", len(chains))
	}
}
