//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde/network"
)

// relay is a proxy of another make, from the distribution's package, that
// leads to the agent alone and does nothing else. It runs in the router of the
// server's network, from where it reaches the agent as the server does.
type relay struct {
	b       *testing.B
	name    string
	dir     string // where its configuration and its log are
	cmd     *exec.Cmd
	address string // where it listens
	log     *os.File
}

const nginxConfig = `daemon off;
user root;
worker_processes auto;
worker_rlimit_nofile 16384;
pid {{dir}}/nginx.pid;
error_log stderr error;
events { worker_connections 8192; }
http {
	access_log off;
	client_body_temp_path {{dir}};
	proxy_temp_path {{dir}};
	fastcgi_temp_path {{dir}};
	uwsgi_temp_path {{dir}};
	scgi_temp_path {{dir}};
	client_max_body_size 0;
	client_body_buffer_size 256k;
	keepalive_requests 1000000000;
	keepalive_timeout 1h;
	upstream agent {
		server {{agent}};
		keepalive 1024;
		keepalive_requests 1000000000;
		keepalive_timeout 1h;
	}
	server {
		listen {{address}} backlog=4096;
		location / {
			proxy_pass http://agent;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
			proxy_request_buffering off;
			proxy_buffer_size 64k;
			proxy_buffers 8 64k;
			proxy_read_timeout 1h;
		}
	}
}
`

const caddyConfig = `{
	admin off
	auto_https off
	log default {
		output stderr
		level ERROR
	}
}
http://{{address}} {
	bind 127.0.0.1
	reverse_proxy {{agent}} {
		flush_interval -1
		transport http {
			compression off
			keepalive 1h
			keepalive_idle_conns 1024
			keepalive_idle_conns_per_host 1024
			read_buffer 64KiB
			write_buffer 64KiB
		}
	}
}
`

// startNginx starts nginx. It listens on the host's loopback, as the server
// does: a socket stays in the namespace it was made in, and nginx takes one
// over as it does when it replaces its own executable.
func startNginx(b *testing.B, networkDir string, agent netip.AddrPort) (*relay, route, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		b.Fatal(err)
	}
	defer socket.Close()
	r := &relay{b: b, name: "nginx", dir: tempDir(b), address: l.Addr().String()}
	config := r.write("nginx.conf", nginxConfig, agent)
	if err := r.start(networkDir, []*os.File{socket}, []string{"NGINX=3;"}, "-p", r.dir, "-c", config); err != nil {
		return nil, route{}, err
	}
	return r, newRoute(r.name, "/invocations", "", tcp(r.address)), nil
}

// startCaddy starts Caddy. Debian's cannot be handed a socket, so it listens
// on the router's own loopback and is dialled there: the router's packet
// filter looks at what its clients send, too. Caddy 2.6 breaks off an answer
// that begins while it still looks for the end of the request, one in some
// thousand; such calls are made again.
func startCaddy(b *testing.B, networkDir string, agent netip.AddrPort) (*relay, route, error) {
	r := &relay{b: b, name: "caddy", dir: tempDir(b), address: "127.0.0.1:8081"}
	config := r.write("Caddyfile", caddyConfig, agent)
	env := []string{"HOME=" + r.dir, "XDG_DATA_HOME=" + r.dir, "XDG_CONFIG_HOME=" + r.dir}
	if err := r.start(networkDir, nil, env, "run", "--config", config, "--adapter", "caddyfile"); err != nil {
		return nil, route{}, err
	}
	router, err := network.Open(b.Context(), network.Config{Name: filepath.Base(networkDir), Dir: networkDir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := router.Close(); err != nil {
			b.Error(err)
		}
	})
	t := newRoute(r.name, "/invocations", "", func(ctx context.Context) (net.Conn, error) {
		return router.Dial(ctx, netip.MustParseAddrPort(r.address))
	})
	t.flaky = true
	return r, t, nil
}

func (r *relay) write(name, config string, agent netip.AddrPort) (path string) {
	r.b.Helper()
	path = filepath.Join(r.dir, name)
	text := strings.NewReplacer("{{dir}}", r.dir, "{{agent}}", agent.String(), "{{address}}", r.address).Replace(config)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.b.Fatal(err)
	}
	return path
}

// start starts the program in the router; the error is exec.ErrNotFound where
// it is not installed.
func (r *relay) start(networkDir string, files []*os.File, env []string, args ...string) (err error) {
	program, err := exec.LookPath(r.name)
	if err != nil {
		return err
	}
	if r.log, err = os.Create(filepath.Join(r.dir, "log")); err != nil {
		return err
	}
	r.cmd = exec.Command(program, args...)
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.ExtraFiles, r.cmd.Stderr, r.cmd.Stdout = files, r.log, r.log
	if err := inNamespace(filepath.Join(networkDir, "router"), r.cmd.Start); err != nil {
		return err
	}
	r.b.Cleanup(r.stop)
	return nil
}

// await waits until a route carries a call.
func (r *relay) await(t route) {
	r.b.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = try(t); err == nil {
			return
		}
	}
	text, _ := os.ReadFile(r.log.Name())
	r.b.Fatalf("%s does not answer: %v\n%s", r.name, err, text)
}

func try(t route) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := newClient(conn, t)
	_, err = c.try(c.request(hello))
	return err
}

// usage is the processor time of the program's processes.
func (r *relay) usage() (u usage) {
	r.b.Helper()
	for _, pid := range r.pids() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			r.b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest) // from the state on, the third of proc(5)
		user, err1 := strconv.Atoi(fields[11])
		system, err2 := strconv.Atoi(fields[12])
		if err := errors.Join(err1, err2); err != nil {
			r.b.Fatal(err)
		}
		u.CPU += time.Duration(user+system) * 10 * time.Millisecond
	}
	return u
}

func (r *relay) pids() []int { return append(children(r.cmd.Process.Pid), r.cmd.Process.Pid) }

func children(pid int) (pids []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for s := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(s); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// stop ends the program and waits for it.
func (r *relay) stop() {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.b.Errorf("stop %s: %v", r.name, err)
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer kill.Stop()
	if err := r.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(r.log.Name())
		r.b.Errorf("%s ended with %v:\n%s", r.name, err, text)
	}
	r.log.Close()
}
