//go:build linux

package bench

import (
	"errors"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/isolde-run/isolde/operator"
)

// carrying is one session of the bench agent, and the ways to it:
//
//	direct   from the router of the server's network, as the server dials it
//	gateway  through the server, over loopback
//	proxy    through the reference proxy, see startProxy
//	nginx    through nginx, and
//	caddy    through Caddy, as plain reverse proxies, where they are installed
type carrying struct {
	*server
	session operator.Session
	routes  []route
	used    []func() usage // of what is between client and agent, by route
	pids    []func() []int // of its processes, by route
}

const (
	direct = iota
	gateway
	proxy
)

func startCarrying(b *testing.B, driver string) *carrying {
	b.Helper()
	s := startServer(b, driver)
	path := s.deploy(benchAgent)
	session := s.session(path)
	dir := s.net
	agent, dialAgent, closeRouter, err := openAgent(b.Context(), dir, session.Sandbox)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := closeRouter(); err != nil {
			b.Error(err)
		}
	})
	reference := startProxy(b, dir, session.Sandbox)
	c := &carrying{server: s, session: session, routes: []route{
		direct:  newRoute("direct", "/invocations", session.ID, dialAgent),
		gateway: s.through(path, session.ID),
		proxy:   newRoute("proxy", "/invocations", session.ID, tcp(reference.host)),
	}}
	c.used = []func() usage{direct: func() usage { return usage{} }, gateway: s.usage, proxy: reference.usage}
	c.pids = []func() []int{direct: nil, gateway: func() []int { return []int{s.pid()} }, proxy: func() []int { return []int{reference.pid()} }}
	for _, start := range []func(*testing.B, string, netip.AddrPort) (*relay, route, error){startNginx, startCaddy} {
		r, t, err := start(b, dir, agent)
		if errors.Is(err, exec.ErrNotFound) {
			b.Logf("not measured: %v", err)
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		r.await(t)
		c.routes, c.used, c.pids = append(c.routes, t), append(c.used, r.usage), append(c.pids, r.pids)
	}
	s.profile()
	return c
}

// clients opens n connections to each side.
func (c *carrying) clients(n int) [][]*client {
	c.b.Helper()
	out := make([][]*client, len(c.routes))
	for side, t := range c.routes {
		for range n {
			conn := dial(c.b, t)
			c.b.Cleanup(conn.close)
			out[side] = append(out[side], conn)
		}
	}
	return out
}

// series is one figure of every side.
func (c *carrying) series() []series { return make([]series, len(c.routes)) }

// ratios reports what each side costs over a direct call, and the gateway over
// every other.
func (c *carrying) ratios(of []series, what string) {
	for side, t := range c.routes {
		if side != direct {
			c.b.ReportMetric(of[side].over(&of[direct]), t.name+"/direct-"+what)
		}
		if side > gateway {
			c.b.ReportMetric(of[gateway].over(&of[side]), "gateway/"+t.name+"-"+what)
		}
	}
}
