// Package network gives each sandbox a link of its own: a network namespace
// with one interface, eth0, whose other end is out of every sandbox's and the
// host's reach.
//
// A server has one router: a network namespace in which the far ends of all
// links live, with a rule set that never changes while links come and go. The
// server dials agents from inside it.
//
//	sandbox A ── eth0 ─┐
//	sandbox B ── eth0 ─┤ router ── uplink ── the host ── internet
//	    the server's ──┘
//	      sockets
//
// It follows that sandboxes cannot reach each other or the host's services,
// that their addresses never meet the host's, that the host's links, routes
// and firewall stay as they are, and that removing the router's namespace
// removes everything. Only when a policy lets a sandbox out is there an uplink
// to the host, with address translation in a table of its own; that also turns
// on net.ipv4.ip_forward, which is left on, since others may rely on it by
// then.
//
// What a policy allows is the group of a link, and the kernel's own state is
// the record: a new server finds links again by looking. Only of an egress list
// there is a file, with the names that a resolver of the router's answers for;
// see resolver.
package network

import (
	"log/slog"
	"net/netip"
)

// Config says where a router lives.
type Config struct {
	// Name tells servers on one machine apart: 1 to 32 lower-case letters,
	// digits and hyphens. It appears in the host's name of the uplink and in
	// the name of its table.
	Name string
	// Dir is where the namespaces are mounted, e.g. /run/isolde/<name>. The
	// router makes it, and removes it when it is empty.
	Dir string
	// Prefix is what sandboxes get their addresses from, two for each link;
	// the zero value is 10.87.0.0/16, which is enough for 32,767. It is inside
	// the router only, so servers may share it.
	Prefix netip.Prefix
	// HostNamespace is the path of the namespace that uplinks lead to. Empty
	// is the process's own; tests name one of theirs.
	HostNamespace string
	// NameServers replaces the host's, see [NameServers].
	NameServers []netip.Addr
	// Logger may be nil.
	Logger *slog.Logger
}

// DefaultPrefix is Config.Prefix's default.
var DefaultPrefix = netip.MustParsePrefix("10.87.0.0/16")

// Interface is the name of a sandbox's interface.
const Interface = "eth0"

// Link is a sandbox's network.
type Link struct {
	ID      string     // as given to Attach
	Path    string     // the sandbox's network namespace, to be entered by its processes
	Addr    netip.Addr // the sandbox's address
	Gateway netip.Addr // the router's end; the other address of a /31
	// NameServers are those that the sandbox may ask; none with egress "none".
	NameServers []netip.Addr
}
