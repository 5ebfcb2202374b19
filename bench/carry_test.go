//go:build linux

package bench

import (
	"testing"

	"github.com/isolde-run/isolde/operator"
)

// carrying is one session of the bench agent, and the three ways to it:
//
//	direct   from the router of the server's network, as the server dials it
//	gateway  through the server, over loopback
//	proxy    through the reference proxy, see startProxy
type carrying struct {
	*server
	proxy   *process
	session operator.Session
	routes  [3]route
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
	dialAgent, closeRouter, err := openAgent(b.Context(), dir, session.Sandbox)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := closeRouter(); err != nil {
			b.Error(err)
		}
	})
	reference := startProxy(b, dir, session.Sandbox)
	s.profile()
	return &carrying{server: s, proxy: reference, session: session, routes: [3]route{
		direct:  newRoute("direct", "/invocations", session.ID, dialAgent),
		gateway: s.through(path, session.ID),
		proxy:   newRoute("proxy", "/invocations", session.ID, tcp(reference.host)),
	}}
}

// clients opens n connections to each side.
func (c *carrying) clients(n int) (out [3][]*client) {
	c.b.Helper()
	for side, t := range c.routes {
		for range n {
			conn := dial(c.b, t)
			c.b.Cleanup(conn.close)
			out[side] = append(out[side], conn)
		}
	}
	return out
}

// ratios reports what the gateway and the reference cost over a direct call.
func (c *carrying) ratios(of *[3]series, what string) {
	c.b.ReportMetric(of[gateway].over(&of[direct]), "gateway/direct-"+what)
	c.b.ReportMetric(of[proxy].over(&of[direct]), "proxy/direct-"+what)
}
