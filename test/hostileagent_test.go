package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// hostileAnswer is what the hostile agent answers.
type hostileAnswer struct {
	Worked []string
	Got    int
	Error  string
	IP     string
}

// TestHostileAgent deploys an agent that tries to get out, and one session
// after the other takes all it can get, while another session is served.
func TestHostileAgent(t *testing.T) {
	b := newBed(t, "gvisor")
	arn := b.deploy("agents/hostile")
	good, attacker := sessionNumber(1), sessionNumber(2)
	order := func(session isolde.SessionID, fields map[string]any) (a hostileAnswer, err error) {
		body, err := json.Marshal(fields)
		if err != nil {
			return a, err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		resp, err := b.request(ctx, arn, session, strings.NewReader(string(body)))
		if err != nil {
			return a, err
		}
		defer resp.Body.Close()
		out, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s: %s", resp.Status, out)
		}
		if err == nil {
			err = json.Unmarshal(out, &a)
		}
		return a, err
	}

	const secret = "what another session must not see"
	planted := []string{"/tmp/planted", "/app/planted", "/dev/shm/planted"}
	victim, err := order(good, map[string]any{"do": "plant", "files": planted, "secret": secret})
	if err != nil || victim.Error != "" {
		t.Fatalf("plant: %+v, %v", victim, err)
	}
	if found, err := order(good, map[string]any{"do": "read", "files": planted, "secret": secret}); err != nil || len(found.Worked) < len(planted) {
		t.Fatalf("the agent does not find what it planted itself: %+v, %v", found, err)
	}
	ofHost := filepath.Join(b.data, "secret")
	if err := os.WriteFile(ofHost, []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, attack := range []map[string]any{
		{"do": "reach", "targets": b.addresses(victim.IP)},
		{"do": "read", "files": append(planted, ofHost), "secret": secret},
		{"do": "kernel"},
	} {
		a, err := order(attacker, attack)
		if err != nil || len(a.Worked) > 0 {
			t.Errorf("%s: the agent could %q, %v", attack["do"], a.Worked, err)
		}
	}

	stop, served := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				served <- n
				return
			case <-time.After(50 * time.Millisecond):
				if _, err := order(good, map[string]any{"do": "echo"}); err != nil {
					t.Errorf("call %d of the session that behaves: %v", n, err)
				}
			}
		}
	}()
	var bombs sync.WaitGroup
	for i, bomb := range []struct {
		do     string
		count  int
		ends   string // the reason that the operator sees; empty: the session goes on
		or     string // a reason with which it may end as well
		atMost int    // how far it gets
		fails  string // what with; empty: it succeeds
	}{
		{do: "forks", atMost: 256, fails: "cannot allocate memory", or: "limit of processes"},
		{do: "memory", ends: "ran out of memory"},
		{do: "disk", atMost: 65, fails: "no space left on device"},
		{do: "output", count: 200},
		{do: "sockets", count: 10_000, atMost: 65536, fails: "too many open files"},
		{do: "files", atMost: 65536, fails: "too many open files"},
		{do: "spin"},
	} {
		bombs.Go(func() {
			session := sessionNumber(10 + i)
			a, err := order(session, map[string]any{"do": bomb.do, "count": bomb.count})
			if bomb.ends != "" {
				if err == nil {
					t.Errorf("%s: %+v; want an end", bomb.do, a)
				}
				if s := b.ended(session); !strings.Contains(s.EndReason, bomb.ends) {
					t.Errorf("%s: the session %s %q, want %q", bomb.do, s.State, s.EndReason, bomb.ends)
				}
				return
			}
			if err != nil && bomb.or != "" && strings.Contains(b.ended(session).EndReason, bomb.or) {
				return
			}
			if err != nil || a.Got > bomb.atMost || a.Got < bomb.count && bomb.fails != "" || !strings.Contains(a.Error, bomb.fails) {
				t.Errorf("%s: %+v, %v", bomb.do, a, err)
			}
			if _, err := order(session, map[string]any{"do": "echo"}); err != nil {
				t.Errorf("%s: the session does not go on: %v", bomb.do, err)
			}
		})
	}
	bombs.Wait()
	close(stop)
	if n := <-served; n == 0 {
		t.Error("the session that behaves was not served once")
	}
	if s, err := b.client.Session(t.Context(), "hostile", good); err != nil || s.EndReason != "" {
		t.Errorf("the session that behaves: %+v, %v", s, err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		size := diskUsage(t, filepath.Join(b.data, "logs"))
		if size < 64<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the logs of a session that wrote 200 MB take %d bytes", size)
		}
	}
}

// addresses are where the server and its neighbours might be found from a
// sandbox: the server's port at every address of the host, what a cloud has
// at its metadata address, the other session, and the router.
func (b *bed) addresses(victim string) (all []string) {
	b.t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok {
			all = append(all, net.JoinHostPort(ip.IP.String(), port), net.JoinHostPort(ip.IP.String(), "22"))
		}
	}
	for _, host := range []string{"127.0.0.2", "0.0.0.0", "localhost", "10.87.0.1", "169.254.88.0", "169.254.88.1", "192.168.0.1", "172.17.0.1", "host.docker.internal"} {
		all = append(all, net.JoinHostPort(host, port), net.JoinHostPort(host, "53"))
	}
	return append(all, victim+":8080", victim+":22", "169.254.169.254:80", "169.254.170.2:80", "100.100.100.200:80")
}

// ended waits until a session has ended.
func (b *bed) ended(id isolde.SessionID) (s isolde.Session) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		found, err := b.client.Session(b.t.Context(), "hostile", id)
		if err == nil && !found.EndedAt.IsZero() || time.Now().After(deadline) {
			return found.Session
		}
	}
}

// diskUsage is what the files below a folder take, holes not counted.
func diskUsage(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var st syscall.Stat_t
			err = syscall.Stat(path, &st)
			bytes += st.Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
