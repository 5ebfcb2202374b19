package session

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/isolde-run/isolde/http1"
	"github.com/isolde-run/isolde/sandbox"
)

// wire is a session's HTTP connections to its agent. It knows every
// connection, because a sandbox that is taken away with its network resets
// none of them: without close, a request would wait for ever.
type wire struct{ transport http1.Transport }

func newWire(box sandbox.Sandbox, port int) *wire {
	return &wire{http1.Transport{
		Dial: func(ctx context.Context) (net.Conn, error) { return box.Dial(ctx, port) },
		// A dial visits another namespace; bench/ Stream shows its price.
		MaxIdle: 1024,
		// Agents close sooner (uvicorn after 5 s), and may.
		IdleTimeout: time.Minute,
	}}
}

// RoundTrip sends a request to the agent; the URL's scheme and host are filled in.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host = "http", "agent"
	return w.transport.RoundTrip(req)
}

// close cuts every connection.
func (w *wire) close() { w.transport.Close() }
