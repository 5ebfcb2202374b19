//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/internal/cli"
)

// The roles this binary can play besides that of the benchmarks.
const (
	roleVar   = "ISOLDE_BENCH_ROLE"
	socketVar = "ISOLDE_BENCH_SOCKET" // where the role answers questions about itself

	roleServer = "server" // the isolde command
	roleProxy  = "proxy"  // the reference proxy, see proxy_test.go
)

var profile = flag.String("serverprofile", "", "write the CPU profile of the server to this `file`; of the last benchmark that ran")

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case roleServer:
		introspect(os.Getenv(socketVar))
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
	case roleProxy:
		introspect(os.Getenv(socketVar))
		serveProxy()
	}
	// What runsc leaves behind is this process's to reap.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become the parent of orphans:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// usage is what a process has used since it began.
type usage struct {
	CPU     time.Duration // user and system
	Mallocs uint64
	Bytes   uint64 // allocated
}

func (u usage) minus(v usage) usage {
	return usage{u.CPU - v.CPU, u.Mallocs - v.Mallocs, u.Bytes - v.Bytes}
}

func (u usage) plus(v usage) usage {
	return usage{u.CPU + v.CPU, u.Mallocs + v.Mallocs, u.Bytes + v.Bytes}
}

// introspect answers on a Unix socket what a process uses, and profiles it on
// demand. It is this binary's, not the server's.
func introspect(socket string) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, "introspect:", err)
		os.Exit(1)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/usage", func(w http.ResponseWriter, _ *http.Request) {
		var ru unix.Rusage
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		u := usage{CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), Mallocs: ms.Mallocs, Bytes: ms.TotalAlloc}
		if err := json.NewEncoder(w).Encode(u); err != nil {
			fmt.Fprintln(os.Stderr, "introspect:", err)
		}
	})
	var out *os.File
	mux.HandleFunc("/profile/start", func(w http.ResponseWriter, r *http.Request) {
		if out, err = os.Create(r.URL.Query().Get("file")); err == nil {
			err = pprof.StartCPUProfile(out)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/profile/stop", func(http.ResponseWriter, *http.Request) {
		pprof.StopCPUProfile()
		out.Close()
	})
	go http.Serve(l, mux) //nolint:errcheck // ends with the process
}
