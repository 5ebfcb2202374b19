//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/isolde-run/isolde"
)

func list(allow ...string) isolde.Network {
	return isolde.Network{Egress: isolde.EgressList, Allow: allow}
}

var otherAddr = netip.MustParseAddr("203.0.113.3")

// A nameServer answers in the test's internet and knows what it was asked.
type nameServer struct {
	zone map[string][]string // addresses, or one alias

	mu    sync.Mutex
	asked []string
}

// serveNames starts the internet's name server, and web servers on ports 80
// and 81 of its addresses.
func serveNames(t *testing.T, w *world) *nameServer {
	t.Helper()
	n := &nameServer{zone: map[string][]string{
		"api.example.test.":    {"edge.cdn.test."},
		"edge.cdn.test.":       {publicAddr.String()},
		"ported.example.test.": {otherAddr.String()},
		"rebind.example.test.": {privateAddr.String(), metadataAddr.String(), "127.0.0.1"},
		"db.corp.test.":        {privateAddr.String()},
		"evil.test.":           {otherAddr.String()},
	}}
	must(t, w.internet.do(func() error {
		wan, err := netlink.LinkByName("wan")
		return errors.Join(err, netlink.AddrAdd(wan, address(otherAddr, 24)))
	}))
	for _, a := range []netip.Addr{publicAddr, otherAddr, privateAddr, metadataAddr} {
		serve(t, w.internet, a.String()+":80")
		serve(t, w.internet, a.String()+":81")
	}
	must(t, w.internet.do(func() error {
		at := resolverAddr.String() + ":53"
		p, err1 := net.ListenPacket("udp4", at)
		l, err2 := net.Listen("tcp4", at)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		var all sync.WaitGroup
		all.Go(func() {
			buf := make([]byte, 4096)
			for {
				size, from, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = p.WriteTo(n.answer(buf[:size], false), from)
			}
		})
		all.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if query, err := readFramed(c); err == nil {
					_ = writeFramed(c, n.answer(query, true))
				}
				c.Close()
			}
		})
		t.Cleanup(func() {
			p.Close()
			l.Close()
			all.Wait()
		})
		return nil
	}))
	return n
}

// heard are the names that it was asked for.
func (n *nameServer) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

func (n *nameServer) answer(query []byte, stream bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return nil
	}
	name := m.Questions[0].Name
	n.mu.Lock()
	n.asked = append(n.asked, name.String())
	n.mu.Unlock()
	m.Response, m.Additionals = true, nil
	if m.Questions[0].Type == dnsmessage.TypeTXT {
		if m.Truncated = !stream; stream {
			h := dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET, TTL: 60}
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.TXTResource{TXT: slices.Repeat([]string{strings.Repeat("x", 250)}, 8)}}}
		}
	}
	// An address that nobody asked for must open nothing.
	stray := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("stray.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 60}
	for m.Questions[0].Type == dnsmessage.TypeA {
		h := dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 86400}
		values, ok := n.zone[strings.ToLower(name.String())]
		if !ok {
			m.RCode = dnsmessage.RCodeNameError
			break
		}
		if alias, err := dnsmessage.NewName(values[0]); err == nil && strings.HasSuffix(values[0], ".") {
			h.Type = dnsmessage.TypeCNAME
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: alias}})
			name = alias
			continue
		}
		for _, v := range values {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr(v).As4()}})
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: stray, Body: &dnsmessage.AResource{A: [4]byte{203, 0, 113, 3}}})
		break
	}
	b, _ := m.Pack()
	return b
}

// lookUp resolves a name in a link's namespace, as an agent would.
func lookUp(l *Link, ns *namespace, name string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (c net.Conn, err error) {
		err = ns.do(func() error {
			c, err = net.DialTimeout(network, net.JoinHostPort(l.NameServers[0].String(), "53"), time.Second)
			return err
		})
		return c, err
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return resolver.LookupHost(ctx, name)
}

// mustReach compares which addresses are within reach.
func mustReach(t *testing.T, ns *namespace, want map[string]bool) {
	t.Helper()
	var checks sync.WaitGroup
	for addr, open := range want {
		checks.Go(func() {
			if got := reach(ns, "tcp4", addr); got != open {
				t.Errorf("%s within reach: %v, want %v", addr, got, open)
			}
		})
	}
	checks.Wait()
}

func TestAListOpensWhatItsNamesLeadTo(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	names := serveNames(t, w)
	policy := list("API.example.test.", "ported.example.test:81", "10.99.0.1:80", "rebind.example.test", "*.corp.test")
	a, b := attach(t, r, "a", policy), attach(t, r, "b", policy)
	inA, inB := inside(t, a), inside(t, b)

	mustReach(t, inA, map[string]bool{
		"203.0.113.2:80": false, "203.0.113.3:81": false, "10.255.255.53:53": false, "169.254.169.254:80": false,
		"10.99.0.1:80": true, "10.99.0.1:81": false, b.Addr.String() + ":80": false, hostAddr.String() + ":80": false,
	})
	for _, test := range []struct {
		name string
		want []string // none: no such name
	}{
		{"api.example.test", []string{"203.0.113.2"}},
		{"API.Example.Test.", []string{"203.0.113.2"}},
		{"ported.example.test", []string{"203.0.113.3"}},
		{"db.corp.test", []string{"10.99.0.1"}}, // a network of the list holds it
		{"rebind.example.test", []string{"10.99.0.1"}},
		{"corp.test", nil},
		{"evil.test", nil},
		{"api.example.test.evil.test", nil},
		{"stolen-data.api.example.test", nil},
		{"missing.corp.test", nil},
	} {
		got, err := lookUp(a, inA, test.name)
		var dns *net.DNSError
		missing := errors.As(err, &dns) && dns.IsNotFound
		if diff := cmp.Diff(test.want, got); diff != "" || (test.want == nil) != missing {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
	reached := map[string]bool{
		"203.0.113.2:80": true, "203.0.113.2:81": true, "203.0.113.3:80": false, "203.0.113.3:81": true,
		"10.99.0.1:80": true, "10.99.0.1:81": false, "169.254.169.254:80": false,
	}
	mustReach(t, inA, reached)
	mustReach(t, inB, map[string]bool{"203.0.113.2:80": false, "203.0.113.3:81": false})
	for _, asked := range names.heard() {
		if strings.Contains(asked, "evil") || strings.Contains(asked, "stolen") {
			t.Errorf("the name server heard of %q", asked)
		}
	}
}

// ask sends one question and returns the answer.
func ask(t testing.TB, l *Link, ns *namespace, network, name string, kind dnsmessage.Type) (m dnsmessage.Message) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("asked by %s for %s of %s", network, kind, name)
		}
	}()
	query, err := (&dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}).Pack()
	must(t, err)
	must(t, ns.do(func() error {
		c, err := net.DialTimeout(network, l.NameServers[0].String()+":53", time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		if network == "tcp4" {
			if err := writeFramed(c, query); err != nil {
				return err
			}
			b, err := readFramed(c)
			return errors.Join(err, m.Unpack(b))
		}
		if _, err := c.Write(query); err != nil {
			return err
		}
		b := make([]byte, 4096)
		n, err := c.Read(b)
		return errors.Join(err, m.Unpack(b[:n]))
	}))
	return m
}

func TestTheResolverSpeaksDNS(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	serveNames(t, w)
	a := attach(t, r, "a", list("*.example.test"))
	ns := inside(t, a)
	m := ask(t, a, ns, "udp4", "api.example.test.", dnsmessage.TypeA)
	if m.ID != 7 || !m.Response || len(m.Answers) != 2 || m.Answers[1].Header.TTL != uint32(maxTTL.Seconds()) {
		t.Errorf("A: %+v", m)
	}
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeAAAA, 65} {
		if m := ask(t, a, ns, "udp4", "api.example.test.", kind); m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 0 {
			t.Errorf("%s: %+v; want no records", kind, m)
		}
	}
	if m := ask(t, a, ns, "udp4", "api.example.test.", dnsmessage.TypeTXT); !m.Truncated {
		t.Errorf("TXT by UDP: %+v; want it cut short", m)
	}
	m = ask(t, a, ns, "tcp4", "api.example.test.", dnsmessage.TypeTXT)
	if m.Truncated || len(m.Answers) != 1 {
		t.Errorf("TXT by TCP: %+v", m)
	}
	if m := ask(t, a, ns, "tcp4", "evil.test.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("evil.test by TCP: %+v", m)
	}
}

// TestRefusalsAreTold, those of names and those of addresses.
func TestRefusalsAreTold(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	serveNames(t, w)
	a := attach(t, r, "a", list("*.example.test"))
	log := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(log, nil, 0o600))
	must(t, r.ReportRefusals("a", log))
	ns := inside(t, a)
	for range 3 {
		_, _ = lookUp(a, ns, "evil.test")
		_, _ = lookUp(a, ns, "rebind.example.test")
	}
	mustReach(t, ns, map[string]bool{"203.0.113.3:81": false})
	want := []string{
		`isolde: egress to "evil.test" was refused`,
		`isolde: egress to "rebind.example.test" was refused: it leads to 10.99.0.1`,
		`isolde: egress to "rebind.example.test" was refused: it leads to 127.0.0.1`,
		`isolde: egress to "rebind.example.test" was refused: it leads to 169.254.169.254`,
		`isolde: egress to 203.0.113.3:81 was refused`,
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		b, err := os.ReadFile(log)
		must(t, err)
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		slices.Sort(lines)
		if len(lines) >= len(want) || time.Now().After(deadline) {
			if !slices.EqualFunc(lines, want, strings.HasPrefix) {
				t.Errorf("log:\n%s", b)
			}
			return
		}
	}
}

// TestListsOutliveTheServer: what was open stays open without one, and the
// next one goes on.
func TestListsOutliveTheServer(t *testing.T) {
	w := newWorld(t)
	cfg := w.config(t)
	old, err := Open(t.Context(), cfg)
	must(t, err)
	names := serveNames(t, w)
	log := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(log, nil, 0o600))
	a := attach(t, old, "a", list("api.example.test", "ported.example.test", "10.99.0.1"))
	must(t, old.ReportRefusals("a", log))
	attach(t, old, "b", list("api.example.test"))
	ns := inside(t, a)
	_, err = lookUp(a, ns, "api.example.test")
	must(t, err)
	lost := attach(t, old, "lost", list("10.99.0.1"))
	must(t, old.Close())
	must(t, os.Remove(old.recordPath("lost")))

	reached := map[string]bool{"203.0.113.2:80": true, "10.99.0.1:80": true, "203.0.113.3:80": false}
	mustReach(t, ns, reached)
	if _, err := lookUp(a, ns, "ported.example.test"); err == nil {
		t.Error("names are resolved without a server")
	}

	r, err := Open(t.Context(), cfg)
	must(t, err)
	mustReach(t, ns, reached)
	found, _ := r.Find("a")
	if !slices.Equal(found.NameServers, a.NameServers) {
		t.Errorf("name servers: %v, want %v", found.NameServers, a.NameServers)
	}
	_, err = lookUp(a, ns, "ported.example.test")
	must(t, err)
	_, _ = lookUp(a, ns, "evil.test")
	mustReach(t, ns, map[string]bool{"203.0.113.2:80": true, "10.99.0.1:80": true, "203.0.113.3:80": true})
	if b, _ := os.ReadFile(log); !strings.Contains(string(b), "evil.test") || slices.Contains(names.heard(), "evil.test.") {
		t.Errorf("log after a restart: %q", b)
	}
	mustReach(t, inside(t, lost), map[string]bool{"10.99.0.1:80": false})
	c := attach(t, r, "c", list("api.example.test"))
	if got := len(r.policies); got != 3 {
		t.Errorf("%d policies, want that of a, that of b and c, and the empty one of lost", got)
	}
	must(t, r.Detach(t.Context(), lost.ID))
	must(t, r.Detach(t.Context(), c.ID))
	must(t, r.Detach(t.Context(), "a"))
	must(t, r.Detach(t.Context(), "b"))
	conn, err := nftables.New(nftables.WithNetNSFd(r.ns.fd))
	must(t, err)
	chains, err := conn.ListChains()
	must(t, err)
	for _, ch := range chains {
		if strings.HasPrefix(ch.Name, "policy-") {
			t.Errorf("left: chain %s", ch.Name)
		}
	}
	must(t, r.Close())
	w.checkNothingLeft(t, cfg.Dir)
}

// TestAFloodOfQuestionsIsThrottled in the kernel, before it costs the server.
func TestAFloodOfQuestionsIsThrottled(t *testing.T) {
	w := newWorld(t)
	r := w.open(t)
	a, b := attach(t, r, "a", list("example.test")), attach(t, r, "b", list("example.test"))
	query := []byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x04test\x00\x00\x01\x00\x01")
	const sent = 5000
	answered := 0
	must(t, inside(t, a).do(func() error {
		c, err := net.Dial("udp4", a.NameServers[0].String()+":53")
		if err != nil {
			return err
		}
		defer c.Close()
		for range sent {
			_, _ = c.Write(query)
		}
		for buf := make([]byte, 512); ; answered++ {
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := c.Read(buf); err != nil {
				return nil
			}
		}
	}))
	if answered == 0 || answered > sent/2 {
		t.Errorf("%d of %d questions were answered", answered, sent)
	}
	if m := ask(t, b, inside(t, b), "udp4", "evil.test.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("the neighbour's answer: %+v", m)
	}
}

func TestBadListsAreRefused(t *testing.T) {
	r := newWorld(t).open(t)
	_, err := r.Attach(t.Context(), "a", list("https://example.test"))
	if isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(fmt.Sprint(err), "https://example.test") {
		t.Errorf("attach: %v", err)
	}
	if left := r.Links(); len(left) > 0 {
		t.Errorf("links: %v", left)
	}
}
