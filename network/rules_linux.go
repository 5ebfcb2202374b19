package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// routerTable is the one table in the router's namespace.
const routerTable = "isolde"

// refreshRules writes the router's rules, unless they are there and the
// host's name servers are the same as before.
func (r *Router) refreshRules() error {
	servers := r.cfg.NameServers
	if servers == nil {
		servers = NameServers()
	}
	r.mu.Lock()
	same := r.nameServers != nil && slices.Equal(servers, r.nameServers)
	r.mu.Unlock()
	if same {
		return nil
	}
	if err := r.applyRouterRules(servers); err != nil {
		return err
	}
	if r.uplink {
		if err := r.applyHostRules(servers); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nameServers = servers
	return nil
}

// applyRouterRules replaces the router's table in one transaction.
func (r *Router) applyRouterRules(nameServers []netip.Addr) error {
	c, err := nftables.New(nftables.WithNetNSFd(r.ns.fd))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	r.listsMu.Lock() // no policy comes or goes meanwhile
	defer r.listsMu.Unlock()
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list rules of router: %w", err)
	}
	rules := routerRules{nameServers: nameServers, resolver: r.resolverAddr()}
	for _, ch := range chains {
		rules.chains = append(rules.chains, ch.Name)
	}
	rules.policies = r.policies
	if err := rules.write(c); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set rules of router: %w", err)
	}
	return nil
}

// routerRules are what the router's table is made from.
type routerRules struct {
	nameServers []netip.Addr
	resolver    netip.Addr
	policies    map[uint32]*policy
	chains      []string // those that the table has already
}

// write writes the table anew, in one transaction and in place: the addresses
// that names have opened stay.
func (rr routerRules) write(c *nftables.Conn) error {
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable})
	resolvers, err := addAddrSet(c, t, "nameservers", rr.nameServers)
	if err != nil {
		return err
	}
	internal, err := addPrefixSet(c, t, "private", private)
	if err != nil {
		return err
	}
	lists, err := addListSets(c, t)
	if err != nil {
		return err
	}
	drop, accept := nftables.ChainPolicyDrop, nftables.ChainPolicyAccept

	// A sandbox sends from its own address only: the route back to the source
	// must lead out of the interface the packet came in by.
	in := chain{c, addChain(c, t, "prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, &accept)}
	in.rule(linkGroup(expr.MetaKeyIIFGROUP, expr.CmpOpNeq, groupUplink), reversePathMissing(), verdict(expr.VerdictDrop))

	// Nobody opens a connection to the router, but for names; it opens them.
	self := chain{c, addChain(c, t, "input", nftables.ChainHookInput, nftables.ChainPriorityFilter, &drop)}
	self.rule(established(), verdict(expr.VerdictAccept))
	self.rule(linkName(expr.MetaKeyIIFNAME, "lo"), verdict(expr.VerdictAccept))
	lists.inputListed(self, rr.resolver)

	// The first two rules come before the one for established connections,
	// so that a closed link cannot use what the kernel remembers of an
	// earlier link with its address.
	forward := chain{c, addChain(c, t, "forward", nftables.ChainHookForward, nftables.ChainPriorityFilter, &drop)}
	forward.rule(linkGroup(expr.MetaKeyIIFGROUP, expr.CmpOpEq, groupClosed), verdict(expr.VerdictDrop))
	forward.rule(linkGroup(expr.MetaKeyOIFGROUP, expr.CmpOpEq, groupClosed), verdict(expr.VerdictDrop))
	forward.rule(isTCP(), isSYN(), clampSegmentSize())
	forward.rule(established(), verdict(expr.VerdictAccept))
	if err := boundFlows(c, t, forward); err != nil {
		return err
	}
	outward := slices.Concat(linkGroup(expr.MetaKeyIIFGROUP, expr.CmpOpEq, groupInternet), linkName(expr.MetaKeyOIFNAME, uplinkName), isIPv4())
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		forward.rule(outward, destinationIn(resolvers), toPort(proto, 53), verdict(expr.VerdictAccept))
	}
	forward.rule(outward, destinationIn(internal), verdict(expr.VerdictDrop))
	forward.rule(outward, verdict(expr.VerdictAccept))
	lists.forwardListed(forward)

	// The host sees one address, the uplink's, and needs no routes.
	nat := chain{c, addNATChain(c, t)}
	nat.rule(linkName(expr.MetaKeyOIFNAME, uplinkName), []expr.Any{&expr.Masq{}})
	return writePolicies(c, t, lists, rr.policies, rr.chains)
}

// applyHostRules replaces the server's table in the host's namespace. It
// touches packets of the uplink only.
func (r *Router) applyHostRules(nameServers []netip.Addr) error {
	c, err := nftables.New(nftables.WithNetNSFd(r.host.fd))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := replaceTable(c, r.hostTable())
	resolvers, err := addAddrSet(c, t, "nameservers", nameServers)
	if err != nil {
		return err
	}
	accept := nftables.ChainPolicyAccept
	fromUplink := linkName(expr.MetaKeyIIFNAME, r.hostLink())

	// The host's public addresses are its own services as well.
	self := chain{c, addChain(c, t, "input", nftables.ChainHookInput, nftables.ChainPriorityFilter, &accept)}
	self.rule(fromUplink, established(), verdict(expr.VerdictAccept))
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		self.rule(fromUplink, isIPv4(), destinationIn(resolvers), toPort(proto, 53), verdict(expr.VerdictAccept))
	}
	self.rule(fromUplink, verdict(expr.VerdictDrop))

	forward := chain{c, addChain(c, t, "forward", nftables.ChainHookForward, nftables.ChainPriorityFilter, &accept)}
	forward.rule(isTCP(), isSYN(), fromUplink, clampSegmentSize())
	nat := chain{c, addNATChain(c, t)}
	nat.rule(fromUplink, []expr.Any{&expr.Masq{}})

	if err := c.Flush(); err != nil {
		return fmt.Errorf("set rules of uplink: %w", err)
	}
	return nil
}
