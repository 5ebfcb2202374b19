//go:build linux

package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/network"
)

var hello = []byte(`{"prompt":"hello"}`)

// patience bounds everything that is waited for, so that a fault ends the
// benchmark.
const patience = 2 * time.Minute

// route is a way to an agent: how to connect, and what to ask for.
type route struct {
	name  string
	dial  func(context.Context) (net.Conn, error)
	head  string // of a request, up to its Content-Length
	flaky bool   // its connections break now and then, and calls are made again
}

func newRoute(name, path string, id isolde.SessionID, dial func(context.Context) (net.Conn, error)) route {
	return route{name: name, dial: dial, head: "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" +
		"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id: " + string(id) + "\r\nContent-Length: "}
}

// tcp dials an address of the host.
func tcp(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

// through is the way through the server.
func (s *server) through(path string, id isolde.SessionID) route {
	return newRoute("gateway", path, id, tcp(s.host))
}

// client is one kept-alive connection. It does less than net/http's own
// client, because it runs on the cores that it measures.
type client struct {
	route
	conn net.Conn
	r    *bufio.Reader
}

func dial(b *testing.B, t route) *client {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := t.dial(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return newClient(conn, t)
}

func newClient(conn net.Conn, t route) *client {
	return &client{route: t, conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
}

func (c *client) close() { c.conn.Close() }

// again opens a new connection after an error, if the route is flaky.
func (c *client) again(err error) bool {
	if err == nil || !c.flaky {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return false
	}
	c.conn.Close()
	c.conn = conn
	c.r.Reset(conn)
	return true
}

// request is a whole request as bytes.
func (c *client) request(body []byte) []byte {
	return append([]byte(c.head+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
}

// do sends a request and returns the answer once its first byte is there, and
// when that was.
func (c *client) do(request []byte) (resp *http.Response, first time.Time, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, first, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return nil, first, err
	}
	if _, err := c.r.Peek(1); err != nil {
		return nil, first, err
	}
	first = time.Now()
	resp, err = http.ReadResponse(c.r, nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		err = errors.New(resp.Status + ": " + string(text))
	}
	return resp, first, err
}

// call makes a whole call and returns how long its answer's first byte took.
func (c *client) call(b *testing.B, body []byte) time.Duration {
	b.Helper()
	took, err := c.try(c.request(body))
	if err != nil {
		b.Fatal(err)
	}
	return took
}

func (c *client) try(request []byte) (time.Duration, error) {
	t0 := time.Now()
	resp, first, err := c.do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return first.Sub(t0), errors.Join(err, resp.Body.Close())
}

// awaitPing asks an agent for its health until it answers, as a session's
// start does.
func awaitPing(b *testing.B, router *network.Router, link *network.Link, died func() error) {
	b.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ping(router, link) == nil {
			return
		}
		if err := died(); err != nil {
			b.Fatal(err)
		}
	}
	b.Fatal("the agent does not answer")
}

func ping(router *network.Router, link *network.Link) error {
	// A SYN that is sent before the sandbox's network is up is lost.
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	conn, err := router.Dial(ctx, agentPort(link))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /ping HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return syscall.EAGAIN
	}
	return nil
}
