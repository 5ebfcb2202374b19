package isolde

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Network is what a sandbox may reach. Other sessions, the host and
// [ClosedNetworks] are out of reach under every policy. The zero value is
// EgressInternet.
type Network struct {
	Egress Egress `json:"egress,omitempty"`
	// Allow are the destinations of EgressList, each as [ParseDestination]
	// takes it, at most 200; empty with other policies.
	Allow []string `json:"allow,omitempty"`
}

// Egress is a policy for connections that leave a sandbox.
type Egress string

// The policies.
const (
	EgressInternet Egress = "internet" // public addresses and the host's name servers; no private networks
	EgressNone     Egress = "none"     // nothing, and no names are resolved
	EgressList     Egress = "list"     // the destinations in Network.Allow, and no other names are resolved
)

// ClosedNetworks are what no policy opens: "this network", loopback,
// link-local addresses with the metadata services of clouds among them,
// multicast, and what is reserved.
var ClosedNetworks = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// Destination is one entry of a list of what sandboxes may reach: a name,
// all names below one, or a network.
type Destination struct {
	Domain     string       // in lower case, without a dot at the end; empty for a network
	Subdomains bool         // all names below Domain, at any depth, and not Domain itself
	Network    netip.Prefix // IPv4, masked; invalid for a name
	Port       uint16       // of TCP and UDP; 0 is every port, and for networks other protocols too
}

// ParseDestination reads api.example.com, *.example.com, 10.1.0.0/16 or
// 203.0.113.7, each perhaps with :port. The error has CodeInvalid, names the
// value, and says what else to write.
func ParseDestination(s string) (Destination, error) {
	invalid := func(why, hint string) (Destination, error) {
		e := Errorf(CodeInvalid, "%q %s", shorten(s), why)
		if hint != "" {
			e = e.WithHint("%s", hint)
		}
		return Destination{}, e
	}
	if strings.Contains(s, "://") {
		return invalid("is a URL", "write the name and the port alone, such as api.example.com:443")
	}
	host, port, hasPort := strings.Cut(s, ":")
	var d Destination
	switch {
	case strings.Contains(port, ":"):
		return invalid("is an IPv6 address, and sandboxes have no IPv6", "")
	case hasPort:
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return invalid("has a port that is not 1 to 65535", "")
		}
		d.Port = uint16(n)
	}
	if host == "*" || host == "" {
		return invalid("names no destination", `egress "internet" allows every public address`)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		d.Network = netip.PrefixFrom(a, 32)
	} else if strings.Contains(host, "/") {
		p, err := netip.ParsePrefix(host)
		switch {
		case err != nil || !p.Addr().Is4():
			return invalid("is not an IPv4 network", "such as 10.1.0.0/16")
		case p != p.Masked():
			return invalid("has bits beyond its prefix", "the network is "+p.Masked().String())
		case p.Bits() < 8:
			return invalid("is a wider network than a /8", `egress "internet" allows every public address`)
		}
		d.Network = p
	}
	if d.Network.IsValid() {
		for _, closed := range ClosedNetworks {
			if closed.Overlaps(d.Network) {
				return invalid("is in "+closed.String()+", which no policy opens: loopback, link-local and metadata addresses, multicast", "")
			}
		}
		return d, nil
	}
	d.Domain = strings.ToLower(strings.TrimSuffix(host, "."))
	if below, ok := strings.CutPrefix(d.Domain, "*."); ok {
		d.Domain, d.Subdomains = below, true
	}
	if why := checkDomain(d.Domain); why != "" {
		return invalid(why, "for example api.example.com, *.example.com, 10.1.0.0/16 or 203.0.113.7:443")
	}
	return d, nil
}

// checkDomain says what is wrong with a name, which is in lower case.
func checkDomain(name string) string {
	labels := strings.Split(name, ".")
	switch last := labels[len(labels)-1]; {
	case strings.Contains(name, "*"):
		return "has * elsewhere than as its first label"
	case len(name) > 253:
		return "is longer than a name may be"
	case last != "" && strings.Trim(last, "0123456789") == "":
		return "is neither a name nor an IPv4 address"
	}
	for _, label := range labels {
		bad := strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		if label == "" || len(label) > 63 || bad {
			return "is not a name of letters, digits, - and _ (others in punycode, xn--…)"
		}
	}
	return ""
}

// String is what ParseDestination reads.
func (d Destination) String() string {
	s := d.Domain
	switch {
	case d.Network.IsSingleIP():
		s = d.Network.Addr().String()
	case d.Network.IsValid():
		s = d.Network.String()
	case d.Subdomains:
		s = "*." + s
	}
	if d.Port != 0 {
		s += ":" + strconv.Itoa(int(d.Port))
	}
	return s
}

// Destinations are Allow, read, in order and each once.
func (n Network) Destinations() ([]Destination, error) {
	all := make([]Destination, 0, len(n.Allow))
	for _, s := range n.Allow {
		d, err := ParseDestination(s)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Destination) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all), nil
}

const maxDestinations = 200

func (n Network) check(p *Problems) {
	switch n.Egress {
	case "", EgressInternet, EgressNone:
		if len(n.Allow) > 0 {
			p.Add("network.allow", "goes with egress %q only", EgressList)
		}
		return
	case EgressList:
	default:
		p.Add("network.egress", "%q is none of internet, none, list", n.Egress)
		return
	}
	if len(n.Allow) == 0 || len(n.Allow) > maxDestinations {
		p.Add("network.allow", "has %d destinations; 1 to %d are allowed", len(n.Allow), maxDestinations)
	}
	for _, s := range n.Allow {
		if _, err := ParseDestination(s); err != nil {
			p.Add("network.allow", "%s", AsError(err).Message)
		}
	}
}
