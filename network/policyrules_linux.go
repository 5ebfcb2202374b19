package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules of egress lists. Nothing here is one rule more for a session: its
// packets find what is theirs in three hash tables, the chain of their policy
// by the group of their link, and addresses that names led to by the index of
// their link. An index is not used again while the namespace lives, so that
// what a link leaves behind in a table opens nothing for a later one.
//
//	policies  group                     → the chain with the list's networks
//	opened    link . address
//	ports     link . address . port
//	refused   link . address . port     of packets that nothing let through
type listSets struct {
	policies, opened, ports, refused, lookups *nftables.Set
}

// openFor is how long an address that a name led to is open from the answer
// on, and maxTTL how long the sandbox is told it may keep that answer. An
// answer that finds an address open for less than renewBelow renews it, so
// that an address is open for 5 min beyond the time the sandbox may know it.
const (
	openFor    = 15 * time.Minute
	renewBelow = 10 * time.Minute
	maxTTL     = 5 * time.Minute
)

// maxRefused bounds the table of refused packets, which empties itself.
const maxRefused = 4096

// lookupsPerSecond bounds the questions of one link to the resolver.
const lookupsPerSecond = 200

func addListSets(c *nftables.Conn, t *nftables.Table) (s listSets, err error) {
	address, err := nftables.ConcatSetType(nftables.TypeIFIndex, nftables.TypeIPAddr)
	if err != nil {
		return s, err
	}
	port, err := nftables.ConcatSetType(nftables.TypeIFIndex, nftables.TypeIPAddr, nftables.TypeInetService)
	if err != nil {
		return s, err
	}
	s = listSets{
		policies: &nftables.Set{Name: "policies", IsMap: true, KeyType: nftables.TypeDevGroup, DataType: nftables.TypeVerdict},
		opened:   &nftables.Set{Name: "opened", KeyType: address, Concatenation: true, HasTimeout: true},
		ports:    &nftables.Set{Name: "ports", KeyType: port, Concatenation: true, HasTimeout: true},
		refused:  &nftables.Set{Name: "refused", KeyType: port, Concatenation: true, HasTimeout: true, Dynamic: true, Size: maxRefused},
		lookups:  &nftables.Set{Name: "lookups", KeyType: nftables.TypeIFIndex, HasTimeout: true, Dynamic: true, Size: 65536},
	}
	for _, set := range []*nftables.Set{s.policies, s.opened, s.ports, s.refused, s.lookups} {
		set.Table = t
		if err := c.AddSet(set, nil); err != nil {
			return s, fmt.Errorf("make set %s: %w", set.Name, err)
		}
	}
	return s, nil
}

func policyChain(group uint32) string { return fmt.Sprintf("policy-%d", group&^groupListed) }

// addPolicy writes the chain of a policy, or writes it again.
func addPolicy(c *nftables.Conn, t *nftables.Table, s listSets, p *policy) error {
	ch := chain{c, c.AddChain(&nftables.Chain{Table: t, Name: policyChain(p.group)})}
	c.FlushChain(ch.ch)
	for _, d := range p.networks {
		to := destinationWithin(d.Network)
		if d.Port == 0 {
			ch.rule(to, verdict(expr.VerdictAccept))
			continue
		}
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			ch.rule(to, toPort(proto, d.Port), verdict(expr.VerdictAccept))
		}
	}
	err := c.SetAddElements(s.policies, []nftables.SetElement{{
		Key: binaryutil.NativeEndian.PutUint32(p.group), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: ch.ch.Name},
	}})
	if err != nil {
		return fmt.Errorf("make policy: %w", err)
	}
	return nil
}

// removePolicy removes what addPolicy made.
func removePolicy(c *nftables.Conn, t *nftables.Table, s listSets, p *policy) error {
	err := c.SetDeleteElements(s.policies, []nftables.SetElement{{
		Key: binaryutil.NativeEndian.PutUint32(p.group), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: policyChain(p.group)},
	}})
	if err != nil {
		return err
	}
	removeChain(c, t, policyChain(p.group))
	return nil
}

// forwardListed passes packets of listed links that their policy allows to
// the uplink, and notes and refuses the others, so that agents learn at once.
func (s listSets) forwardListed(forward chain) {
	from := linkIsListed(expr.MetaKeyIIFGROUP)
	outward := slices.Concat(from, linkName(expr.MetaKeyOIFNAME, uplinkName), isIPv4())
	forward.rule(outward, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFGROUP, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: s.policies.Name, SetID: s.policies.ID, IsDestRegSet: true},
	})
	forward.rule(outward, fromLinkTo(), lookupIn(s.opened), verdict(expr.VerdictAccept))
	for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		ported := append(meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}), fromLinkToPort()...)
		forward.rule(outward, ported, lookupIn(s.ports), verdict(expr.VerdictAccept))
		forward.rule(outward, ported, []expr.Any{&expr.Dynset{
			SrcRegKey: firstRegister, SetName: s.refused.Name, SetID: s.refused.ID, Operation: unix.NFT_DYNSET_OP_ADD, Timeout: time.Minute,
		}})
	}
	forward.rule(from, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
}

// inputListed lets listed links ask the resolver.
func (s listSets) inputListed(self chain, resolver netip.Addr) {
	from := slices.Concat(linkIsListed(expr.MetaKeyIIFGROUP), isIPv4(), destinationWithin(netip.PrefixFrom(resolver, 32)))
	self.rule(from, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: firstRegister},
		&expr.Dynset{
			SrcRegKey: firstRegister, SetName: s.lookups.Name, SetID: s.lookups.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: 10 * time.Second,
			Exprs: []expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: lookupsPerSecond, Unit: expr.LimitTimeSecond, Burst: lookupsPerSecond, Over: true}},
		},
	}, verdict(expr.VerdictDrop))
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		self.rule(from, toPort(proto, 53), verdict(expr.VerdictAccept))
	}
}

// writePolicies writes the chains of the policies in use and removes others.
func writePolicies(c *nftables.Conn, t *nftables.Table, s listSets, policies map[uint32]*policy, chains []string) error {
	c.FlushSet(s.policies)
	keep := map[string]bool{}
	for _, p := range policies {
		keep[policyChain(p.group)] = true
		if err := addPolicy(c, t, s, p); err != nil {
			return err
		}
	}
	for _, name := range chains {
		if strings.HasPrefix(name, "policy-") && !keep[name] {
			removeChain(c, t, name)
		}
	}
	return nil
}

func removeChain(c *nftables.Conn, t *nftables.Table, name string) {
	ch := &nftables.Chain{Table: t, Name: name}
	c.FlushChain(ch)
	c.DelChain(ch)
}

// The parts of rules whose keys are longer than one value. Those lie in
// registers of 4 bytes, one behind the other.
const firstRegister = unix.NFT_REG32_00

func linkIsListed(key expr.MetaKey) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(groupListed), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func destinationWithin(p netip.Prefix) []expr.Any {
	mask := ^uint32(0) << (32 - p.Bits())
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.BigEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

func fromLinkTo() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: firstRegister},
		&expr.Payload{DestRegister: firstRegister + 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
	}
}

func fromLinkToPort() []expr.Any {
	return append(fromLinkTo(), &expr.Payload{DestRegister: firstRegister + 2, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

func lookupIn(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: firstRegister, SetName: s.Name, SetID: s.ID}}
}

// An opening is an address that a name led a link to.
type opening struct {
	link uint32 // its index
	addr netip.Addr
	port uint16 // 0: every port
}

// key is the opening's in set opened, or in ports.
func (o opening) key() []byte {
	k := append(binaryutil.NativeEndian.PutUint32(o.link), o.addr.AsSlice()...)
	if o.port != 0 {
		k = append(k, byte(o.port>>8), byte(o.port), 0, 0)
	}
	return k
}

// openingOf reads the key of set refused.
func openingOf(key []byte) (o opening, ok bool) {
	if len(key) < 10 {
		return o, false
	}
	addr, _ := netip.AddrFromSlice(key[4:8])
	return opening{binaryutil.NativeEndian.Uint32(key), addr, binaryutil.BigEndian.Uint16(key[8:10])}, true
}

// renew opens addresses for openFor, also those that are open. An element
// keeps its time when it is added again, so each is removed in between; other
// packets see only the end of the transaction.
func (s listSets) renew(c *nftables.Conn, openings []opening) error {
	for _, o := range openings {
		set := s.opened
		if o.port != 0 {
			set = s.ports
		}
		e := []nftables.SetElement{{Key: o.key(), Timeout: openFor}}
		if err := c.SetAddElements(set, e); err != nil {
			return err
		}
		if err := c.SetDeleteElements(set, e); err != nil {
			return err
		}
		if err := c.SetAddElements(set, e); err != nil {
			return err
		}
	}
	return c.Flush()
}
