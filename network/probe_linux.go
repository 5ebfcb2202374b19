package network

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
)

// Probe tries, in a namespace that goes at once, whether this process can make
// what a router needs. The error is an *isolde.Error with CodeUnsupported that
// says what is missing and which command helps. The answer is kept: what it
// depends on does not change while the process runs.
func Probe() error { return probe() }

var probe = sync.OnceValue(func() error {
	err := onThread(tryRouter)
	if err == nil {
		return nil
	}
	e := isolde.Errorf(isolde.CodeUnsupported, "sandboxes cannot have networks of their own here: %w", err)
	switch {
	case os.Geteuid() != 0:
		return e.WithHint("run the server as root: sudo isolde serve")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return e.WithHint("the server needs CAP_NET_ADMIN, CAP_SYS_ADMIN and a writable /proc/sys/net; in a container: docker run --privileged")
	default:
		return e.WithHint("the kernel needs veth and nftables: modprobe -a veth nf_tables nft_fib_inet nft_masq nft_ct nft_connlimit nft_reject_inet")
	}
})

// tryRouter makes a small router in a namespace of the thread's own.
func tryRouter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	if err := setSysctl("ipv4/ip_forward", "1"); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = uplinkName
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: Interface}); err != nil {
		return fmt.Errorf("make veth pair: %w", err)
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := (routerRules{resolver: DefaultPrefix.Addr().Next()}).write(c); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set nftables rules: %w", err)
	}
	return nil
}
