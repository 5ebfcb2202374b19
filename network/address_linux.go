package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Addresses come in pairs, each a /31: the even one is the router's, the odd
// one the sandbox's. Pair 0 is not used, since it holds the prefix itself.

// pairs is how many links the prefix is enough for.
func (r *Router) pairs() int { return 1<<(31-r.cfg.Prefix.Bits()) - 1 }

// linkOf is the link with the n-th pair, from 0.
func (r *Router) linkOf(id string, n int) *Link {
	base := r.cfg.Prefix.Addr().As4()
	gateway := binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(base[:])+uint32(n+1)*2)
	g := addrOf(gateway)
	return &Link{ID: id, Path: r.linkPath(id), Addr: g.Next(), Gateway: g}
}

// pairOf is the inverse: the number of the pair an address is in.
func (r *Router) pairOf(a netip.Addr) (n int, ok bool) {
	if !r.cfg.Prefix.Contains(a) {
		return 0, false
	}
	base, addr := r.cfg.Prefix.Addr().As4(), a.As4()
	n = int(binary.BigEndian.Uint32(addr[:])-binary.BigEndian.Uint32(base[:]))/2 - 1
	return n, n >= 0
}

// holdsNameServer keeps a name server inside the prefix reachable. mu is held.
func (r *Router) holdsNameServer(n int) bool {
	return slices.ContainsFunc(r.nameServers, func(a netip.Addr) bool {
		m, ok := r.pairOf(a)
		return ok && m == n
	})
}

// resolverAddr is where the sandboxes with a list ask for names.
func (r *Router) resolverAddr() netip.Addr { return r.cfg.Prefix.Addr().Next() }

func (r *Router) linkDir() string           { return filepath.Join(r.cfg.Dir, "links") }
func (r *Router) linkPath(id string) string { return filepath.Join(r.linkDir(), id) }

// addrOf converts an IPv4 address; the zero Addr if it is none.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func pairNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(31, 32)}
}

func netnsHandle(ns *namespace) netns.NsHandle { return netns.NsHandle(ns.fd) }

// overlaps says whether one of the host's addresses or routes is in p. Wide
// routes such as the default route or 169.254.0.0/16 do not count.
func overlaps(addrs []netlink.Addr, routes []netlink.Route, p netip.Prefix) bool {
	for _, a := range addrs {
		if p.Contains(addrOf(a.IP)) {
			return true
		}
	}
	for _, route := range routes {
		if route.Dst == nil {
			continue
		}
		ones, _ := route.Dst.Mask.Size()
		dst := netip.PrefixFrom(addrOf(route.Dst.IP), ones)
		if ones > 16 && dst.IsValid() && dst.Overlaps(p) {
			return true
		}
	}
	return false
}
