//go:build linux

package bench

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde/sandbox"
)

// crowdDriver has sandboxes without anything in them, so that what is measured
// is the server's alone: an agent is a connection that answers every request
// at once, healthy.
type crowdDriver struct {
	mu       sync.Mutex
	all      []sandbox.Sandbox
	requests atomic.Int64
}

var _ sandbox.Driver = (*crowdDriver)(nil)

func (d *crowdDriver) Name() string { return "crowd" }
func (d *crowdDriver) Capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{Isolated: true}
}
func (d *crowdDriver) Close() error { return nil }
func (d *crowdDriver) pings() int64 { return d.requests.Load() }

func (d *crowdDriver) Start(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	s := &crowdSandbox{driver: d, id: spec.ID, labels: spec.Labels}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, s)
	return s, nil
}

func (d *crowdDriver) Recover(context.Context) ([]sandbox.Sandbox, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all, nil
}

type crowdSandbox struct {
	driver *crowdDriver
	id     sandbox.ID
	labels map[string]string
}

var never = make(chan struct{}) // no agent of the crowd ends

func (s *crowdSandbox) ID() sandbox.ID            { return s.id }
func (s *crowdSandbox) Labels() map[string]string { return s.labels }
func (s *crowdSandbox) Done() <-chan struct{}     { return never }
func (s *crowdSandbox) Exit() sandbox.Exit        { return sandbox.Exit{} }

func (s *crowdSandbox) Stats(context.Context) (sandbox.Stats, error) { return sandbox.Stats{}, nil }
func (s *crowdSandbox) Stop(context.Context, time.Duration) error    { return nil }

func (s *crowdSandbox) Dial(context.Context, int) (net.Conn, error) {
	return &crowdConn{driver: s.driver}, nil
}

// crowdConn answers each write, which is a request.
type crowdConn struct {
	net.Conn // of which no other method is called
	driver   *crowdDriver
	answer   bytes.Reader
}

var pong = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n" + `{"status":"Healthy"}`)

func (c *crowdConn) Write(p []byte) (int, error) {
	c.driver.requests.Add(1)
	c.answer.Reset(pong)
	return len(p), nil
}

func (c *crowdConn) Read(p []byte) (int, error) {
	if n, err := c.answer.Read(p); err != io.EOF { //nolint:errorlint // bytes.Reader's own
		return n, err
	}
	return 0, os.ErrDeadlineExceeded
}

func (c *crowdConn) Close() error                     { return nil }
func (c *crowdConn) SetDeadline(time.Time) error      { return nil }
func (c *crowdConn) SetReadDeadline(time.Time) error  { return nil }
func (c *crowdConn) SetWriteDeadline(time.Time) error { return nil }
