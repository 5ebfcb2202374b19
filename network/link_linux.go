package network

import (
	"fmt"
	"net"
	"net/netip"
	"time"

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
		attrs.HardwareAddr = hardwareAddr(link.Gateway)
		far := &netlink.Veth{LinkAttrs: attrs, PeerName: Interface, PeerNamespace: netlink.NsFd(inside.fd), PeerHardwareAddr: hardwareAddr(link.Addr)}
		if err := r.handle.LinkAdd(far); err != nil {
			return fmt.Errorf("make link: %w", err)
		}
		if err := r.handle.AddrAdd(far, &netlink.Addr{IPNet: pairNet(link.Gateway)}); err != nil {
			return fmt.Errorf("set gateway address: %w", err)
		}
		if err := r.handle.NeighSet(neighbour(far.Attrs().Index, link.Addr)); err != nil {
			return fmt.Errorf("set neighbour: %w", err)
		}
		if l := r.listedAt(link.Addr); l != nil {
			l.setIndex(far.Attrs().Index)
		}
		if err := setUpInside(link); err != nil {
			return err
		}
		return r.awaitUp(far.Attrs().Index)
	})
	if err == nil {
		ns.close()
	}
	return err
}

// awaitUp waits until the far end passes packets on, which the kernel sees to
// a moment after the sandbox's end is up; until then it drops them. Asking for
// its state is what hurries a newer kernel.
func (r *Router) awaitUp(index int) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := r.handle.LinkByIndex(index)
		if err != nil {
			return fmt.Errorf("find link: %w", err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the link stays in state %s", l.Attrs().OperState)
		}
	}
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
	if err := netlink.NeighSet(neighbour(eth.Attrs().Index, link.Gateway)); err != nil {
		return fmt.Errorf("set neighbour: %w", err)
	}
	return nil
}

// hardwareAddr is the link address of the interface with an address.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x69}, a.AsSlice()...)
}

// neighbour tells an interface who is at its other end, so that nobody need
// ask. The kernel's table of those who were asked for holds 1,024 for all
// namespaces together; what is set does not count.
func neighbour(index int, a netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: hardwareAddr(a)}
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
