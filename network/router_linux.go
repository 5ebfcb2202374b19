package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
)

// Router is where the links of one server's sandboxes meet. All methods are
// safe for concurrent use; calls with the same id are the caller's to order.
type Router struct {
	cfg    Config
	log    *slog.Logger
	ns     *namespace      // the router's own
	host   *namespace      // where uplinks lead
	handle *netlink.Handle // speaks to the router's namespace

	life   sync.RWMutex // held for reading while descriptors are used
	closed bool         // guarded by life

	remover remover

	uplinkMu sync.Mutex
	uplink   bool // there is one

	mu          sync.Mutex
	links       map[string]*Link // nil values are orphans and links being made
	taken       map[int]string   // pair number → id
	next        int              // where the search for a free pair begins
	nameServers []netip.Addr     // the ones that the rules let through

	listsMu  sync.Mutex
	policies map[uint32]*policy         // the lists in use, by their group
	listed   map[string]*listedLink     // links with a list, by id
	listedBy map[netip.Addr]*listedLink // the same by the sandbox's address
	resolver *resolver                  // nil until a link has a list
}

// Groups of the links in the router's namespace. The rules are written in
// terms of them.
const (
	groupUplink   = 0
	groupClosed   = 1 // egress "none"
	groupInternet = 2 // egress "internet"
	groupGone     = 3 // about to be removed
	// groupListed is the bit of the groups of egress lists; the bits below
	// number the list.
	groupListed = 1 << 16
)

const uplinkName = "uplink"

var (
	idRE   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,14}$`) // an interface name holds 15 bytes
	nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
)

// Open makes the router of cfg, or finds the one an earlier server left with
// its links. The error has CodeUnsupported when [Probe] has.
func Open(ctx context.Context, cfg Config) (_ *Router, err error) {
	if !nameRE.MatchString(cfg.Name) {
		return nil, fmt.Errorf("open network: name %q is not 1 to 32 lower-case letters, digits and hyphens", cfg.Name)
	}
	if !cfg.Prefix.IsValid() {
		cfg.Prefix = DefaultPrefix
	}
	cfg.Prefix = cfg.Prefix.Masked()
	if !cfg.Prefix.Addr().Is4() || cfg.Prefix.Bits() > 30 || cfg.Prefix.Bits() < 8 {
		return nil, fmt.Errorf("open network: prefix %s is not an IPv4 prefix of 8 to 30 bits", cfg.Prefix)
	}
	if cfg.HostNamespace == "" {
		// Not that of /proc/self, which is the main thread's: it may be lent
		// to another namespace at this moment.
		cfg.HostNamespace = "/proc/thread-self/ns/net"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := Probe(); err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, log: cfg.Logger, links: map[string]*Link{}, taken: map[int]string{}, policies: map[uint32]*policy{}, listed: map[string]*listedLink{}, listedBy: map[netip.Addr]*listedLink{}}
	defer func() {
		if err != nil {
			r.stopResolver()
			r.release()
		}
	}()
	if r.host, err = openNamespace(cfg.HostNamespace); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	if err := r.openRouter(); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	if err := r.find(); err != nil {
		return nil, fmt.Errorf("find links: %w", err)
	}
	r.next = rand.IntN(r.pairs())
	if err := r.refreshRules(); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	return r, ctx.Err()
}

// openRouter opens the router's namespace, or makes it.
func (r *Router) openRouter() error {
	path := filepath.Join(r.cfg.Dir, "router")
	ns, err := openNamespace(path)
	if errors.Is(err, fs.ErrNotExist) {
		ns, err = newNamespace(path, func() error {
			if err := disableIPv6(); err != nil {
				return err
			}
			// Strict reverse path filtering backs the rule against forged
			// source addresses.
			for _, s := range [][2]string{{"ipv4/ip_forward", "1"}, {"ipv4/conf/all/rp_filter", "1"}, {"ipv4/conf/default/rp_filter", "1"}} {
				if err := setSysctl(s[0], s[1]); err != nil {
					return fmt.Errorf("set up router: %w", err)
				}
			}
			return setUp("lo")
		})
	}
	if err != nil {
		return err
	}
	r.ns = ns
	if r.handle, err = netlink.NewHandleAt(netnsHandle(ns), unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	lo, err := r.handle.LinkByName("lo")
	if err == nil {
		err = r.handle.AddrReplace(lo, &netlink.Addr{IPNet: &net.IPNet{IP: r.resolverAddr().AsSlice(), Mask: net.CIDRMask(32, 32)}})
	}
	if err != nil {
		return fmt.Errorf("set address of resolver: %w", err)
	}
	return nil
}

// find fills the maps from what is in the namespace and under Dir.
func (r *Router) find() error {
	links, err := r.handle.LinkList()
	if err != nil {
		return err
	}
	names, groups, indexes := map[int]string{}, map[string]uint32{}, map[string]int{}
	for _, l := range links {
		if a := l.Attrs(); a.Group != groupUplink && a.Name != "lo" {
			names[a.Index] = a.Name
			r.links[a.Name] = nil
			indexes[a.Name] = a.Index
			groups[a.Name] = a.Group
		}
	}
	routes, err := r.handle.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	r.uplink = slices.ContainsFunc(routes, func(route netlink.Route) bool { return route.Gw != nil })
	files, err := os.ReadDir(r.linkDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		r.links[f.Name()] = nil
	}
	addrs, err := r.handle.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		id, gateway := names[a.LinkIndex], addrOf(a.IP)
		n, ok := r.pairOf(gateway)
		if id == "" || !ok {
			continue
		}
		r.taken[n] = id
		if ns, err := openNamespace(r.linkPath(id)); err == nil {
			ns.close()
			r.links[id] = r.linkOf(id, n)
			r.links[id].NameServers = r.nameServersOf(groups[id])
		}
	}
	maps.DeleteFunc(groups, func(_ string, group uint32) bool { return group&groupListed == 0 })
	return r.findListed(groups, indexes)
}

// nameServersOf are the name servers for links of a group.
func (r *Router) nameServersOf(group uint32) []netip.Addr {
	switch {
	case group&groupListed != 0:
		return []netip.Addr{r.resolverAddr()}
	case group == groupClosed:
		return nil
	case r.cfg.NameServers != nil:
		return r.cfg.NameServers
	}
	return NameServers()
}

// Attach makes the link of a sandbox: a namespace at Link.Path whose eth0 has
// an address and a default route, and what policy allows. When it fails
// nothing is left. Errors: CodeConflict when the id has a link, CodeQuota when
// the prefix is used up, CodeUnsupported when the host cannot give an uplink,
// CodeInvalid for a policy that is none.
func (r *Router) Attach(ctx context.Context, id string, policy isolde.Network) (*Link, error) {
	if err := r.enter(); err != nil {
		return nil, fmt.Errorf("attach %s: %w", id, err)
	}
	defer r.life.RUnlock()
	group := uint32(groupClosed)
	switch policy.Egress {
	case isolde.EgressNone:
	case isolde.EgressInternet, "":
		group = groupInternet
		if err := r.ensureUplink(); err != nil {
			return nil, err
		}
	case isolde.EgressList:
		if err := r.ensureUplink(); err != nil {
			return nil, err
		}
	default:
		return nil, isolde.Errorf(isolde.CodeInvalid, "egress %q is not known", policy.Egress).
			WithHint("it is %q, %q or %q", isolde.EgressInternet, isolde.EgressNone, isolde.EgressList)
	}
	pair, err := r.reserve(id)
	if err != nil {
		return nil, err
	}
	link := r.linkOf(id, pair)
	if policy.Egress == isolde.EgressList {
		group, err = r.join(id, link.Addr, policy)
	}
	if err == nil {
		link.NameServers = r.nameServersOf(group)
		err = r.connect(link, group)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach %s: %w", id, err), r.detach(id))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[id] = link
	return link, nil
}

// reserve takes an id and a pair of addresses.
func (r *Router) reserve(id string) (pair int, err error) {
	if !idRE.MatchString(id) || id == uplinkName || id == "lo" {
		return 0, fmt.Errorf("attach: id %q is not 1 to 15 lower-case letters, digits and hyphens", id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, exists := r.links[id]; exists {
		return 0, isolde.Errorf(isolde.CodeConflict, "sandbox %s has a network link already", id)
	}
	// Pairs are handed out in turn, so that an address is not used again
	// while the kernel may remember connections of the one before.
	for range r.pairs() {
		n := r.next
		r.next = (r.next + 1) % r.pairs()
		if _, used := r.taken[n]; !used && !r.holdsNameServer(n) {
			r.taken[n], r.links[id] = id, nil
			return n, nil
		}
	}
	return 0, isolde.Errorf(isolde.CodeQuota, "all %d addresses of %s are in use", r.pairs(), r.cfg.Prefix).
		WithHint("stop sessions, or give the server a larger prefix")
}

// Find returns the link of an id, also one that an earlier server made.
func (r *Router) Find(id string) (*Link, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.links[id]
	return l, l != nil
}

// Links are the ids that have something to detach, in order. Some may be
// pieces that Find does not return.
func (r *Router) Links() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.links))
}

// Detach takes a link away with everything that belongs to it. Connections
// through it break. Processes in its namespace keep running without a link.
// Idempotent.
func (r *Router) Detach(_ context.Context, id string) error {
	if err := r.enter(); err != nil {
		return fmt.Errorf("detach %s: %w", id, err)
	}
	defer r.life.RUnlock()
	r.mu.Lock()
	_, known := r.links[id]
	r.mu.Unlock()
	if !known {
		return nil
	}
	return r.detach(id)
}

func (r *Router) detach(id string) error {
	var errs []error
	if l, err := r.handle.LinkByName(id); err == nil {
		if err := r.remover.remove(r, l); err != nil {
			errs = append(errs, err)
		}
	} else if !errors.As(err, new(netlink.LinkNotFoundError)) {
		errs = append(errs, fmt.Errorf("find link: %w", err))
	}
	if err := unmountNamespace(r.linkPath(id)); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 { // a link that is there keeps its policy
		errs = append(errs, r.leave(id))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.links[id]; l != nil {
		n, _ := r.pairOf(l.Addr)
		delete(r.taken, n)
	} else {
		maps.DeleteFunc(r.taken, func(_ int, by string) bool { return by == id })
	}
	delete(r.links, id)
	return nil
}

// Close removes the router and its uplink if no link is left, and otherwise
// leaves them to the next server. Idempotent.
func (r *Router) Close() error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.stopResolver()
	defer r.release()
	if len(r.links) > 0 {
		return nil
	}
	return r.remove()
}

// enter keeps the router from being closed until life is unlocked again.
func (r *Router) enter() error {
	r.life.RLock()
	if r.closed {
		r.life.RUnlock()
		return net.ErrClosed
	}
	return nil
}

func (r *Router) remove() error {
	if err := r.removeUplink(); err != nil {
		return fmt.Errorf("remove uplink: %w", err)
	}
	if err := unmountNamespace(r.ns.path); err != nil {
		return fmt.Errorf("remove router: %w", err)
	}
	// What is not empty is somebody's.
	os.Remove(r.linkDir())
	os.Remove(r.recordDir())
	os.Remove(r.cfg.Dir)
	return nil
}

// release closes what the Router holds in this process.
func (r *Router) release() {
	if r.handle != nil {
		r.handle.Close()
	}
	for _, ns := range []*namespace{r.ns, r.host} {
		if ns != nil {
			ns.close()
		}
	}
}
