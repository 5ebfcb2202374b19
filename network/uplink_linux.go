package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
)

// uplinkPrefix is where uplinks get their two addresses from. Link-local
// addresses are on no network that the host routes to, and this part of them
// is not one that clouds use.
var uplinkPrefix = netip.MustParsePrefix("169.254.88.0/22")

// hostLink is the host's name of the uplink: at most 15 bytes.
func (r *Router) hostLink() string {
	if name := "isolde-" + r.cfg.Name; len(name) <= 15 {
		return name
	}
	sum := sha256.Sum256([]byte(r.cfg.Name))
	return "isolde-" + hex.EncodeToString(sum[:4])
}

// hostTable is the name of the server's table in the host's namespace.
func (r *Router) hostTable() string { return "isolde-" + r.cfg.Name }

// ensureUplink makes the uplink if there is none, and follows changes of the
// host's name servers.
func (r *Router) ensureUplink() error {
	r.uplinkMu.Lock()
	defer r.uplinkMu.Unlock()
	if !r.uplink {
		if err := r.makeUplink(); err != nil {
			return isolde.Errorf(isolde.CodeUnsupported, "cannot connect sandboxes to the internet: %w", err).
				WithHint("set egress to %q, or run isolde doctor", isolde.EgressNone)
		}
		r.uplink = true
	}
	if err := r.refreshRules(); err != nil {
		return err
	}
	return r.restoreHostRules()
}

// restoreHostRules writes the server's table again where somebody has emptied
// the host's rules, as a restart of nftables.service does.
func (r *Router) restoreHostRules() error {
	c, err := nftables.New(nftables.WithNetNSFd(r.host.fd))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list nftables: %w", err)
	}
	if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == r.hostTable() }) {
		return nil
	}
	r.log.Warn("the host's firewall lost the rules of sandboxes, and gets them again", "table", r.hostTable())
	r.mu.Lock()
	nameServers := r.nameServers
	r.mu.Unlock()
	return r.applyHostRules(nameServers)
}

// makeUplink adds the router's route last: an uplink with a route is whole.
func (r *Router) makeUplink() (err error) {
	unlock, err := r.host.lock()
	if err != nil {
		return err
	}
	defer unlock()
	// A server that was killed here may have left a part of it.
	if err := r.removeUplink(); err != nil {
		return fmt.Errorf("remove unfinished uplink: %w", err)
	}
	host, err := netlink.NewHandleAt(netnsHandle(r.host), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer host.Close()
	routes, err := host.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes of the host: %w", err)
	}
	addrs, err := host.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of the host: %w", err)
	}
	hostAddr, err := freePair(addrs, routes)
	if err != nil {
		return err
	}

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = uplinkName, outwardMTU(host, routes), net.FlagUp
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: r.hostLink(), PeerNamespace: netlink.NsFd(r.host.fd)}
	if err := r.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("make uplink %s: %w", r.hostLink(), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.removeUplink())
		}
	}()
	far, err := host.LinkByName(r.hostLink())
	if err != nil {
		return fmt.Errorf("find uplink: %w", err)
	}
	if err := host.AddrAdd(far, &netlink.Addr{IPNet: pairNet(hostAddr)}); err != nil {
		return fmt.Errorf("set address of uplink: %w", err)
	}
	if err := host.LinkSetUp(far); err != nil {
		return fmt.Errorf("set uplink up: %w", err)
	}
	if err := r.handle.AddrAdd(veth, &netlink.Addr{IPNet: pairNet(hostAddr.Next())}); err != nil {
		return fmt.Errorf("set address of router: %w", err)
	}
	r.mu.Lock()
	nameServers := r.nameServers
	r.mu.Unlock()
	if err := r.applyHostRules(nameServers); err != nil {
		return err
	}
	if err := r.host.do(func() error { return r.allowForwarding() }); err != nil {
		return err
	}
	if err := r.handle.RouteAdd(&netlink.Route{LinkIndex: veth.Attrs().Index, Gw: hostAddr.AsSlice()}); err != nil {
		return fmt.Errorf("set route of router: %w", err)
	}
	r.warnOfClosedForward()
	return nil
}

// allowForwarding makes the host pass packets on between its links.
func (r *Router) allowForwarding() error {
	const name = "ipv4/ip_forward"
	now, err := os.ReadFile("/proc/sys/net/" + name)
	if err == nil && !bytes.Equal(bytes.TrimSpace(now), []byte("1")) {
		if err = setSysctl(name, "1"); err == nil {
			r.log.Info("turned on net.ipv4.ip_forward for sandboxes with internet access")
		}
	}
	if err != nil {
		return fmt.Errorf("turn on net.ipv4.ip_forward: %w", err)
	}
	return nil
}

// warnOfClosedForward tells when another firewall drops forwarded packets, as
// Docker's does. Isolde does not change other's tables.
func (r *Router) warnOfClosedForward() {
	c, err := nftables.New(nftables.WithNetNSFd(r.host.fd))
	if err != nil {
		return
	}
	chains, err := c.ListChains()
	if err != nil {
		return
	}
	for _, ch := range chains {
		closed := ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
		if closed && ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Table.Family != nftables.TableFamilyIPv6 {
			r.log.Warn("the host's firewall drops forwarded packets: sandboxes cannot reach the internet",
				"table", ch.Table.Name, "chain", ch.Name,
				"hint", fmt.Sprintf("iptables -I FORWARD -i %[1]s -j ACCEPT && iptables -I FORWARD -o %[1]s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", r.hostLink()))
		}
	}
}

// removeUplink removes the uplink and the server's table. Idempotent.
func (r *Router) removeUplink() error {
	var errs []error
	l, err := r.handle.LinkByName(uplinkName)
	if err == nil {
		err = r.handle.LinkDel(l) // takes the other end with it
	}
	if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
		errs = append(errs, err)
	}
	c, err := nftables.New(nftables.WithNetNSFd(r.host.fd))
	if err == nil {
		t := &nftables.Table{Family: nftables.TableFamilyINet, Name: r.hostTable()}
		c.AddTable(t) // so that the next line never fails
		c.DelTable(t)
		err = c.Flush()
	}
	return errors.Join(append(errs, err)...)
}

// freePair finds two addresses that the host does not use. The even one is
// the host's.
func freePair(addrs []netlink.Addr, routes []netlink.Route) (netip.Addr, error) {
	for a := uplinkPrefix.Addr(); uplinkPrefix.Contains(a); a = a.Next().Next() {
		if !overlaps(addrs, routes, netip.PrefixFrom(a, 31)) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the host uses all addresses of %s", uplinkPrefix)
}

// outwardMTU is the MTU of the host's default route, or 1500.
func outwardMTU(host *netlink.Handle, routes []netlink.Route) int {
	for _, route := range routes {
		if route.Dst != nil {
			if ones, _ := route.Dst.Mask.Size(); ones > 0 {
				continue
			}
		}
		if l, err := host.LinkByIndex(route.LinkIndex); err == nil {
			return l.Attrs().MTU
		}
	}
	return 1500
}
