package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/net/dns/dnsmessage"
)

// A resolver answers the questions of sandboxes with an egress list, inside
// the router: names of the list are asked of the host's name servers, and the
// addresses they lead to are opened for the link that asked, before it hears
// of them; no other name is passed on to anybody. Private addresses are
// opened by networks of the list only, whatever a name server says.
//
// It is a part of the server. While no server runs, names are not resolved,
// addresses stay open for as long as they were opened, connections go on, and
// nothing else is opened.
type resolver struct {
	router  *Router
	ctx     context.Context
	stop    context.CancelFunc
	packets net.PacketConn
	streams net.Listener
	slots   chan struct{} // questions that are answered at once
	all     sync.WaitGroup

	nftMu sync.Mutex
	nft   *nftables.Conn
	sets  listSets
}

const (
	maxAllQuestions = 4096
	askTimeout      = 3 * time.Second // of one name server
	streamTimeout   = 10 * time.Second
	refusedInterval = 2 * time.Second
)

// startResolver starts the resolver, unless there is one.
func (r *Router) startResolver() error {
	r.listsMu.Lock()
	defer r.listsMu.Unlock()
	if r.resolver != nil {
		return nil
	}
	v := &resolver{router: r, slots: make(chan struct{}, maxAllQuestions)}
	if err := v.open(); err != nil {
		v.close()
		return fmt.Errorf("start resolver: %w", err)
	}
	v.ctx, v.stop = context.WithCancel(context.Background())
	v.all.Go(v.servePackets)
	v.all.Go(v.serveStreams)
	v.all.Go(v.followRefusals)
	r.resolver = v
	return nil
}

func (v *resolver) open() error {
	at := netip.AddrPortFrom(v.router.resolverAddr(), 53).String()
	err := v.router.ns.do(func() (err error) {
		if v.packets, err = net.ListenPacket("udp4", at); err != nil {
			return err
		}
		v.streams, err = net.Listen("tcp4", at)
		return err
	})
	if err != nil {
		return err
	}
	if v.nft, err = nftables.New(nftables.WithNetNSFd(v.router.ns.fd), nftables.AsLasting()); err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	// The names of the sets are enough; they are there once the rules are.
	t := v.nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable})
	if v.sets, err = addListSets(v.nft, t); err != nil {
		return err
	}
	return v.nft.Flush()
}

func (v *resolver) close() {
	if v.packets != nil {
		v.packets.Close()
	}
	if v.streams != nil {
		v.streams.Close()
	}
	if v.nft != nil {
		_ = v.nft.CloseLasting()
	}
}

// stopResolver waits for all that the resolver does.
func (r *Router) stopResolver() {
	v := r.resolver
	if v == nil {
		return
	}
	v.stop()
	v.packets.Close()
	v.streams.Close()
	v.all.Wait()
	v.close()
	r.resolver = nil
}

func (v *resolver) servePackets() {
	buf := make([]byte, 4096)
	for {
		n, from, err := v.packets.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l := v.linkOf(from)
		if err != nil || l == nil || !v.enter(l) {
			continue // it will ask again
		}
		query := slices.Clone(buf[:n])
		v.all.Go(func() {
			defer v.exit(l)
			if reply := v.reply(l, query, false); reply != nil {
				_, _ = v.packets.WriteTo(reply, from)
			}
		})
	}
}

func (v *resolver) serveStreams() {
	for {
		c, err := v.streams.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors, perhaps
			continue
		}
		l := v.linkOf(c.RemoteAddr())
		if l == nil || !v.enter(l) {
			c.Close()
			continue
		}
		v.all.Go(func() {
			defer v.exit(l)
			v.serveStream(l, c)
		})
	}
}

func (v *resolver) serveStream(l *listedLink, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(v.ctx, func() { c.Close() })()
	for {
		if err := c.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
			return
		}
		query, err := readFramed(c)
		if err != nil {
			return
		}
		reply := v.reply(l, query, true)
		if reply == nil || writeFramed(c, reply) != nil {
			return
		}
	}
}

func (v *resolver) linkOf(from net.Addr) *listedLink {
	switch a := from.(type) {
	case *net.UDPAddr:
		return v.router.listedAt(a.AddrPort().Addr().Unmap())
	case *net.TCPAddr:
		return v.router.listedAt(a.AddrPort().Addr().Unmap())
	}
	return nil
}

// enter takes a place for a question, if the link and the server have one.
func (v *resolver) enter(l *listedLink) bool {
	select {
	case l.slots <- struct{}{}:
	default:
		return false
	}
	select {
	case v.slots <- struct{}{}:
		return true
	default:
		<-l.slots
		return false
	}
}

func (v *resolver) exit(l *listedLink) {
	<-v.slots
	<-l.slots
}

// reply answers a query; nil is no answer, for what is none.
func (v *resolver) reply(l *listedLink, query []byte, stream bool) []byte {
	q, err := readQuestion(query)
	if err != nil {
		return nil
	}
	ports := l.policy.ports(q.name)
	switch {
	case len(ports) == 0:
		l.tell("egress to %q was refused: the agent's egress list does not hold the name", q.name)
		return q.refused()
	case q.Class != dnsmessage.ClassINET || q.Type == dnsmessage.TypeALL || q.Type == dnsmessage.TypeAXFR:
		return q.empty(dnsmessage.RCodeNotImplemented)
	case q.Type == dnsmessage.TypeAAAA || q.Type == 64 || q.Type == 65:
		// There is no IPv6; SVCB and HTTPS carry addresses too.
		return q.empty(dnsmessage.RCodeSuccess)
	}
	answer, err := v.ask(q)
	if err == nil && q.Type == dnsmessage.TypeA {
		answer, err = v.admit(l, q, ports, answer)
	}
	if err != nil {
		v.router.log.Debug("could not resolve a name for a sandbox", "sandbox", l.id, "name", q.name, "err", err)
		return q.empty(dnsmessage.RCodeServerFailure)
	}
	if !stream && len(answer) > q.maxSize {
		return q.truncated()
	}
	binary.BigEndian.PutUint16(answer, q.header.ID)
	return answer
}

// admit opens the addresses of an answer and returns what the sandbox may see
// of it.
func (v *resolver) admit(l *listedLink, q question, ports []uint16, answer []byte) ([]byte, error) {
	a, err := q.readAddresses(answer)
	if err != nil {
		return nil, err
	}
	dropped := a.without(func(addr netip.Addr) bool { return isPrivate(addr) && !l.policy.hasNetwork(addr) })
	for _, addr := range dropped {
		l.tell("egress to %q was refused: it leads to %s, and private addresses are reached through networks of the agent's egress list only", q.name, addr)
	}
	var openings []opening
	for _, addr := range a.addrs {
		if isPrivate(addr) {
			continue // the list's network says which ports
		}
		for _, port := range ports {
			openings = append(openings, opening{addr: addr, port: port})
		}
	}
	if err := v.openFor(l, openings); err != nil {
		return nil, err
	}
	if len(a.addrs) == 0 && len(dropped) > 0 {
		return q.refused(), nil
	}
	return q.answer(a.code, a.records)
}

// openFor opens addresses for a link, as far as they do not stay open for long
// enough anyway.
func (v *resolver) openFor(l *listedLink, openings []opening) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var due []opening
	for _, o := range openings {
		o.link = l.index
		if l.opened[o].Sub(now) < renewBelow {
			due = append(due, o)
		}
	}
	if len(due) == 0 {
		return nil
	}
	if len(l.opened)+len(due) > maxOpened {
		for o, until := range l.opened {
			if until.Before(now) {
				delete(l.opened, o)
			}
		}
		if len(l.opened)+len(due) > maxOpened {
			return fmt.Errorf("%d addresses are open for the sandbox", len(l.opened))
		}
	}
	v.nftMu.Lock()
	err := v.sets.renew(v.nft, due)
	v.nftMu.Unlock()
	if err != nil {
		return fmt.Errorf("open addresses: %w", err)
	}
	for _, o := range due {
		l.opened[o] = now.Add(openFor)
	}
	return nil
}

// followRefusals tells of packets that were refused.
func (v *resolver) followRefusals() {
	tick := time.NewTicker(refusedInterval)
	defer tick.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-tick.C:
		}
		v.nftMu.Lock()
		elements, err := v.nft.GetSetElements(v.sets.refused)
		v.nftMu.Unlock()
		if err != nil || len(elements) == 0 {
			continue
		}
		byIndex := v.router.listedByIndex()
		for _, e := range elements {
			if o, ok := openingOf(e.Key); ok && byIndex[o.link] != nil {
				byIndex[o.link].tell("egress to %s was refused: the agent's egress list does not allow it", netip.AddrPortFrom(o.addr, o.port))
			}
		}
	}
}
