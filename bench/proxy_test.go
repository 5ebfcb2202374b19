//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde/network"
)

// agentVar names the agent that the reference proxy leads to: the folder of
// its server's network, and the id of its sandbox.
const agentVar = "ISOLDE_BENCH_AGENT"

// startProxy starts the reference: the least a Go program does that carries
// calls to this agent, net/http with httputil.ReverseProxy, tuned. It knows
// neither sessions nor the API.
func startProxy(b *testing.B, networkDir, sandbox string) *process {
	b.Helper()
	return startProcess(b, roleProxy, tempDir(b), nil, agentVar+"="+networkDir+"|"+sandbox)
}

// serveProxy is the role of the reference proxy.
func serveProxy() {
	err := func() error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		dir, sandbox, _ := strings.Cut(os.Getenv(agentVar), "|")
		_, dialAgent, closeRouter, err := openAgent(ctx, dir, sandbox)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return errors.Join(err, closeRouter())
		}
		reverse := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "agent" },
			Transport: &http.Transport{
				DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dialAgent(ctx) },
				MaxIdleConnsPerHost: 256,
				DisableCompression:  true,
				WriteBufferSize:     64 << 10,
				ReadBufferSize:      64 << 10,
			},
			FlushInterval: -1,
			BufferPool:    &bufferPool{},
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Otherwise an answer that begins at once meets the transport still
			// looking for the end of the request, and breaks off.
			if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
				panic(err)
			}
			reverse.ServeHTTP(w, r)
		})}
		fmt.Fprintf(os.Stderr, "http://%s\n", l.Addr())
		go func() {
			<-ctx.Done()
			server.Close()
		}()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return closeRouter()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[64 << 10]byte); ok {
		return b[:]
	}
	return make([]byte, 64<<10)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[64 << 10]byte)(b)) }

// networkOf finds the folder of the server's network that a sandbox is on.
func networkOf(b *testing.B, sandbox string) string {
	b.Helper()
	found, err := filepath.Glob(filepath.Join("/run/isolde/*/links", sandbox))
	if err != nil || len(found) != 1 {
		b.Fatalf("network of sandbox %s: %v, %v", sandbox, found, err)
	}
	return filepath.Dir(filepath.Dir(found[0]))
}

// openAgent returns an agent's address and how to dial it as its server does:
// from inside the router of the server's network. Closing leaves the network to
// the server.
func openAgent(ctx context.Context, networkDir, sandbox string) (agent netip.AddrPort, dial func(context.Context) (net.Conn, error), closeRouter func() error, err error) {
	router, err := network.Open(ctx, network.Config{Name: filepath.Base(networkDir), Dir: networkDir})
	if err != nil {
		return agent, nil, nil, err
	}
	link, ok := router.Find(sandbox)
	if !ok {
		router.Close()
		return agent, nil, nil, fmt.Errorf("sandbox %s has no link", sandbox)
	}
	agent = agentPort(link)
	return agent, func(ctx context.Context) (net.Conn, error) { return router.Dial(ctx, agent) }, router.Close, nil
}
