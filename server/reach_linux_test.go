package server

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/internal/need"
)

// inNamespace runs f on a thread in a network namespace: sockets that f makes are
// in it for good.
func inNamespace(t *testing.T, ns netns.NsHandle, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// twoMachines are two network namespaces with a cable between them.
func twoMachines(t *testing.T) (server, client netns.NsHandle) {
	t.Helper()
	need.NetNS(t)
	make := func() netns.NsHandle {
		made := netns.None()
		inNamespace(t, current(t), func() (err error) {
			made, err = netns.New()
			return err
		})
		t.Cleanup(func() { made.Close() })
		return made
	}
	server, client = make(), make()
	up := func(name, address string) func() error {
		return func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, addr); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		}
	}
	inNamespace(t, server, func() error {
		cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cable"}, PeerName: "cable", PeerNamespace: netlink.NsFd(client)}
		if err := netlink.LinkAdd(cable); err != nil {
			return err
		}
		return up("cable", "192.0.2.1/24")()
	})
	inNamespace(t, client, up("cable", "192.0.2.2/24"))
	return server, client
}

func current(t *testing.T) netns.NsHandle {
	t.Helper()
	ns, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func reachKey() *auth.Key {
	return &auth.Key{ID: "ISOLREACH", Secret: "a-secret-of-thirty-characters-1", Name: "reach", Rights: auth.AllRights}
}

func TestBeyondLoopbackWithKeysOnly(t *testing.T) {
	keys, err := auth.NewKeys(reachKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"without keys", Config{Listen: "0.0.0.0:0"}, "nobody is asked for credentials"},
		{"without keys, on all of IPv6", Config{Listen: "[::]:0"}, "nobody is asked for credentials"},
		{"without keys, unnamed", Config{Listen: ":0"}, "nobody is asked for credentials"},
		{"with a driver that isolates nothing", Config{Listen: "0.0.0.0:0", Keys: keys, Driver: "process"}, "isolates nothing"},
	} {
		need.NetNS(t)
		ns, _ := twoMachines(t) // nobody is there
		test.cfg.DataDir = t.TempDir()
		inNamespace(t, ns, func() error {
			s := New(test.cfg)
			if err := s.Open(t.Context()); isolde.CodeOf(err) != isolde.CodeUnsupported || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v", test.name, err)
				_ = s.Close()
			}
			return nil
		})
	}
}

func TestServingOtherMachines(t *testing.T) {
	runsc := need.GVisor(t)
	server, client := twoMachines(t)
	keys, err := auth.NewKeys(reachKey())
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Listen: "0.0.0.0:0", Driver: "gvisor", Runsc: runsc, DataDir: t.TempDir(), Keys: keys, StopSessions: true})
	inNamespace(t, server, func() error { return s.Open(context.Background()) })
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (c net.Conn, err error) {
		inNamespace(t, client, func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
			return nil
		})
		return c, err
	}}
	request := func(method, path string, more func(*http.Request)) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://192.0.2.1:"+port+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if more != nil {
			more(req)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	signed := func(req *http.Request) {
		const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		key := aws.Credentials{AccessKeyID: reachKey().ID, SecretAccessKey: string(reachKey().Secret)}
		if err := v4.NewSigner().SignHTTP(t.Context(), key, req, empty, "bedrock-agentcore", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		operation string
		more      func(*http.Request)
		want      int
	}{
		{"GET /healthz", nil, 200},
		{"GET /healthz", func(r *http.Request) { r.Host = "agents.example.com" }, 200},
		{"GET /", nil, 401},
		{"GET /console/", nil, 401},
		{"GET /metrics", nil, 401},
		{"GET /isolde/v1/agents", nil, 401},
		{"GET /isolde/v1/nothing", nil, 401},
		{"GET /isolde/v1/backup", nil, 401},
		{"DELETE /isolde/v1/sessions", nil, 401},
		{"POST /runtimes/", nil, 403},
		{"POST /runtimes/x/invocations", nil, 403},
		{"GET /isolde/v1/agents", signed, 200},
		{"GET /metrics", signed, 200},
		{"POST /runtimes/", signed, 200},
		{"POST /runtimes/x/invocations", signed, 404},
		{"GET /isolde/v1/agents", func(r *http.Request) { r.SetBasicAuth(reachKey().ID, string(reachKey().Secret)) }, 403},
		{"POST /runtimes/", func(r *http.Request) { signed(r); r.Header.Set("Origin", "https://evil.example") }, 403},
	} {
		method, path, _ := strings.Cut(test.operation, " ")
		resp := request(method, path, test.more)
		if resp.StatusCode != test.want {
			t.Errorf("%s: %s, want %d", test.operation, resp.Status, test.want)
		}
		if c := resp.Header.Get("WWW-Authenticate"); c != "" {
			t.Errorf("%s: a browser would be asked to send a password in clear text: %s", test.operation, c)
		}
	}
}
