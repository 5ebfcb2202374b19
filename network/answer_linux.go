package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// A question is what a sandbox asks the resolver.
type question struct {
	dnsmessage.Question
	header  dnsmessage.Header
	name    string // in lower case, without the dot at the end
	edns    bool   // it knows more than plain DNS
	maxSize int    // of an answer by UDP
}

// maxUDP is the largest answer by UDP, which no path on the way fragments.
const maxUDP = 1232

// The extended error (RFC 8914) that says why a name is refused.
const (
	optExtendedError = 15
	errorProhibited  = 18
)

// readQuestion reads a query with exactly one question.
func readQuestion(b []byte) (q question, err error) {
	var p dnsmessage.Parser
	if q.header, err = p.Start(b); err != nil {
		return q, err
	}
	all, err := p.AllQuestions()
	if err != nil {
		return q, err
	}
	if len(all) != 1 || q.header.Response || q.header.OpCode != 0 {
		return q, errors.New("it is not one question")
	}
	q.Question, q.maxSize = all[0], 512
	q.name = strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if err := errors.Join(p.SkipAllAnswers(), p.SkipAllAuthorities()); err != nil {
		return q, err
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return q, nil // what is behind the question is optional
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns, q.maxSize = true, min(max(512, int(h.Class)), maxUDP)
		}
		if p.SkipAdditional() != nil {
			return q, nil
		}
	}
}

// forward is the query to a name server that asks the same.
func (q question) forward(id uint16) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := errors.Join(b.StartQuestions(), b.Question(q.Question)); err != nil {
		return nil, err
	}
	if q.edns {
		if err := addOPT(&b); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// empty is an answer without records.
func (q question) empty(code dnsmessage.RCode, options ...dnsmessage.Option) []byte {
	m, err := q.answer(code, nil, options...)
	if err != nil {
		return nil // a question that was read can be written
	}
	return m
}

// refused says that there is no such name, as far as the sandbox goes. REFUSED
// would have its resolver ask again, and report a fault that may pass.
func (q question) refused() []byte {
	return q.empty(dnsmessage.RCodeNameError, dnsmessage.Option{Code: optExtendedError, Data: []byte("\x00\x12egress policy")})
}

// truncated tells a sandbox to ask by TCP.
func (q question) truncated() []byte {
	q.header.Truncated = true
	return q.empty(dnsmessage.RCodeSuccess)
}

func (q question) answer(code dnsmessage.RCode, records []dnsmessage.Resource, options ...dnsmessage.Option) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: q.header.ID, Response: true, RCode: code, Truncated: q.header.Truncated,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true,
	})
	b.EnableCompression()
	if err := errors.Join(b.StartQuestions(), b.Question(q.Question), b.StartAnswers()); err != nil {
		return nil, err
	}
	for _, r := range records {
		var err error
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			err = b.AResource(r.Header, *body)
		case *dnsmessage.CNAMEResource:
			err = b.CNAMEResource(r.Header, *body)
		default:
			err = fmt.Errorf("a record of type %s", r.Header.Type)
		}
		if err != nil {
			return nil, err
		}
	}
	if q.edns {
		if err := addOPT(&b, options...); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

func addOPT(b *dnsmessage.Builder, options ...dnsmessage.Option) error {
	var h dnsmessage.ResourceHeader
	return errors.Join(h.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, false), b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{Options: options}))
}

// An addressAnswer is what a name server said to a question of type A.
type addressAnswer struct {
	code    dnsmessage.RCode
	records []dnsmessage.Resource // aliases and addresses, with maxTTL at most
	addrs   []netip.Addr          // of records
}

// readAddresses reads a name server's answer to q: the aliases that lead away
// from its name and the addresses at their end. What else is in it, such as
// addresses of names that nobody asked for, is left out.
func (q question) readAddresses(b []byte) (a addressAnswer, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return a, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return a, err
	}
	all, err := p.AllAnswers()
	if err != nil {
		return a, err
	}
	a.code = h.RCode
	at, steps := q.name, 0
	for i := 0; i < len(all) && steps < 16; i++ {
		alias, ok := all[i].Body.(*dnsmessage.CNAMEResource)
		if ok && sameName(all[i].Header.Name, at) {
			at = strings.ToLower(strings.TrimSuffix(alias.CNAME.String(), "."))
			a.add(all[i])
			i, steps = -1, steps+1
		}
	}
	for _, r := range all {
		if body, ok := r.Body.(*dnsmessage.AResource); ok && sameName(r.Header.Name, at) {
			a.add(r)
			a.addrs = append(a.addrs, netip.AddrFrom4(body.A))
		}
	}
	return a, nil
}

func (a *addressAnswer) add(r dnsmessage.Resource) {
	r.Header.TTL = min(r.Header.TTL, uint32(maxTTL.Seconds()))
	a.records = append(a.records, r)
}

// without leaves addresses out.
func (a *addressAnswer) without(drop func(netip.Addr) bool) (dropped []netip.Addr) {
	kept := *a
	kept.records, kept.addrs = nil, nil
	for _, r := range a.records {
		if body, ok := r.Body.(*dnsmessage.AResource); ok {
			addr := netip.AddrFrom4(body.A)
			if drop(addr) {
				dropped = append(dropped, addr)
				continue
			}
			kept.addrs = append(kept.addrs, addr)
		}
		kept.records = append(kept.records, r)
	}
	*a = kept
	return dropped
}

// answers says whether b is an answer to the query with this id, and whether
// it was cut short.
func (q question) answers(b []byte, id uint16) (ok, truncated bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || h.ID != id {
		return false, false
	}
	asked, err := p.AllQuestions()
	ok = err == nil && len(asked) == 1 && asked[0].Type == q.Type && asked[0].Class == q.Class && sameName(asked[0].Name, q.name)
	return ok, h.Truncated
}

func sameName(n dnsmessage.Name, name string) bool {
	return strings.EqualFold(strings.TrimSuffix(n.String(), "."), name)
}
