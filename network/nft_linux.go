package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// chain adds rules to a chain.
type chain struct {
	c  *nftables.Conn
	ch *nftables.Chain
}

// rule adds a rule made of parts that are all matched in order.
func (ch chain) rule(parts ...[]expr.Any) {
	ch.c.AddRule(&nftables.Rule{Table: ch.ch.Table, Chain: ch.ch, Exprs: slices.Concat(parts...)})
}

// replaceTable empties a table, or adds it, within c's transaction.
func replaceTable(c *nftables.Conn, name string) *nftables.Table {
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	c.AddTable(t)
	c.DelTable(t)
	return c.AddTable(t)
}

// addChain adds a chain, or empties it.
func addChain(c *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook, prio *nftables.ChainPriority, policy *nftables.ChainPolicy) *nftables.Chain {
	ch := c.AddChain(&nftables.Chain{Table: t, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: prio, Policy: policy})
	c.FlushChain(ch)
	return ch
}

func addNATChain(c *nftables.Conn, t *nftables.Table) *nftables.Chain {
	ch := c.AddChain(&nftables.Chain{
		Table: t, Name: "postrouting", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.FlushChain(ch)
	return ch
}

// setElements makes a set, or empties it, and fills it.
func setElements(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	err := c.AddSet(s, nil)
	c.FlushSet(s)
	if err == nil && len(elements) > 0 {
		err = c.SetAddElements(s, elements)
	}
	if err != nil {
		return fmt.Errorf("make set %s: %w", s.Name, err)
	}
	return nil
}

func addAddrSet(c *nftables.Conn, t *nftables.Table, name string, addrs []netip.Addr) (*nftables.Set, error) {
	s := &nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIPAddr}
	var elements []nftables.SetElement
	for _, a := range addrs {
		elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
	}
	return s, setElements(c, s, elements)
}

func addPrefixSet(c *nftables.Conn, t *nftables.Table, name string, prefixes []netip.Prefix) (*nftables.Set, error) {
	s := &nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIPAddr, Interval: true}
	var elements []nftables.SetElement
	for _, p := range prefixes {
		elements = append(elements, nftables.SetElement{Key: p.Addr().AsSlice()})
		last := p.Addr().As4()
		for i := p.Bits(); i < 32; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		// The range up to the last address has no end.
		if after := netip.AddrFrom4(last).Next(); after.IsValid() {
			elements = append(elements, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	return s, setElements(c, s, elements)
}

// What follows are the parts of rules. Each uses register 1 only.

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func linkGroup(key expr.MetaKey, op expr.CmpOp, group uint32) []expr.Any {
	return meta(key, op, binaryutil.NativeEndian.PutUint32(group))
}

func linkName(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return meta(key, expr.CmpOpEq, padded)
}

func isIPv4() []expr.Any { return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}) }

func isTCP() []expr.Any { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_TCP}) }

func toPort(proto byte, port uint16) []expr.Any {
	return append(meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)})
}

func destinationIn(s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
	}
}

// maxFlows is how many connections that leave it a link has at once, those of
// UDP included. The host remembers each of them, 262,144 or so in all.
const maxFlows = 4096

// boundFlows drops what would be one connection too many of its link.
func boundFlows(c *nftables.Conn, t *nftables.Table, forward chain) error {
	flows := &nftables.Set{Table: t, Name: "flows", KeyType: nftables.TypeIFIndex, Dynamic: true, Size: 65536}
	if err := c.AddSet(flows, nil); err != nil {
		return fmt.Errorf("make set %s: %w", flows.Name, err)
	}
	forward.rule(linkName(expr.MetaKeyOIFNAME, uplinkName), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: firstRegister},
		&expr.Dynset{
			SrcRegKey: firstRegister, SetName: flows.Name, SetID: flows.ID, Operation: unix.NFT_DYNSET_OP_ADD,
			Exprs: []expr.Any{&expr.Connlimit{Count: maxFlows, Flags: expr.NFT_CONNLIMIT_F_INV}},
		},
	}, verdict(expr.VerdictDrop))
	return nil
}

func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func reversePathMissing() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

// isSYN matches the first packets of a TCP connection, in both directions.
func isSYN() []expr.Any {
	const synOrRST = 0x02 | 0x04
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{synOrRST}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x02}},
	}
}

// clampSegmentSize sets the segment size of a TCP connection to what the
// route takes: the path beyond the host may be narrower than a link.
func clampSegmentSize() []expr.Any {
	return []expr.Any{
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	}
}
