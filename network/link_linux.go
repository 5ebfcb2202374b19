package network

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// connect makes the namespace and both ends of the link.
func (r *Router) connect(link *Link, group uint32) error {
	ns, err := newNamespace(link.Path, func() error {
		if err := disableIPv6(); err != nil {
			return err
		}
		inside, err := openNamespace("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		defer inside.close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Group, attrs.Flags = link.ID, group, net.FlagUp
		far := &netlink.Veth{LinkAttrs: attrs, PeerName: Interface, PeerNamespace: netlink.NsFd(inside.fd)}
		if err := r.handle.LinkAdd(far); err != nil {
			return fmt.Errorf("make link: %w", err)
		}
		if err := r.handle.AddrAdd(far, &netlink.Addr{IPNet: pairNet(link.Gateway)}); err != nil {
			return fmt.Errorf("set gateway address: %w", err)
		}
		if l := r.listedAt(link.Addr); l != nil {
			l.setIndex(far.Attrs().Index)
		}
		return setUpInside(link)
	})
	if err == nil {
		ns.close()
	}
	return err
}

// setUpInside sets up the interfaces of the thread's namespace.
func setUpInside(link *Link) error {
	if err := setUp("lo"); err != nil {
		return err
	}
	eth, err := netlink.LinkByName(Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", Interface, err)
	}
	if err := netlink.AddrAdd(eth, &netlink.Addr{IPNet: pairNet(link.Addr)}); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s up: %w", Interface, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: link.Gateway.AsSlice()}); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

// setUp sets an interface of the thread's namespace up.
func setUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}
