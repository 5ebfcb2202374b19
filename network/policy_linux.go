package network

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// private is what no name leads to and what egress "internet" leaves out:
// IPv4 addresses that are not public, from the IANA special-purpose registry.
// The documentation networks are not in it: nobody is there.
var private = append(slices.Clone(isolde.ClosedNetworks),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
)

// A policy is a list of destinations, made ready to be asked. Links with the
// same list share one.
type policy struct {
	group    uint32 // of the links, and the number of the policy's chain
	allow    []isolde.Destination
	networks []isolde.Destination // those of allow that are networks
	names    map[string][]uint16  // exact names and their ports; 0 is every port
	below    map[string][]uint16  // the same of subdomains, without "*."
	links    int                  // that have it; 0 while it goes
}

func newPolicy(group uint32, allow []isolde.Destination) *policy {
	p := &policy{group: group, allow: allow, names: map[string][]uint16{}, below: map[string][]uint16{}}
	for _, d := range allow {
		switch {
		case d.Network.IsValid():
			p.networks = append(p.networks, d)
		case d.Subdomains:
			p.below[d.Domain] = append(p.below[d.Domain], d.Port)
		default:
			p.names[d.Domain] = append(p.names[d.Domain], d.Port)
		}
	}
	return p
}

// ports are the ports that a name's addresses are opened for, 0 being every
// port; none where the list does not hold the name, which is in lower case.
func (p *policy) ports(name string) []uint16 {
	ports := slices.Clone(p.names[name])
	for rest, ok := name, true; ok; {
		if _, rest, ok = strings.Cut(rest, "."); ok {
			ports = append(ports, p.below[rest]...)
		}
	}
	if slices.Contains(ports, 0) {
		return []uint16{0}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// hasNetwork says whether a network of the list holds an address, for
// whatever port.
func (p *policy) hasNetwork(a netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(d isolde.Destination) bool { return d.Network.Contains(a) })
}

func isPrivate(a netip.Addr) bool {
	return slices.ContainsFunc(private, func(p netip.Prefix) bool { return p.Contains(a) })
}
