//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/operator"
)

// BenchmarkMemory measures memory, in MB of 10^6 bytes: the proportional set
// of an idle session, all its processes together, against that of the same
// agent without a sandbox, and what the server itself holds.
func BenchmarkMemory(b *testing.B) {
	for _, driver := range []string{"process", "gvisor"} {
		b.Run(driver, func(b *testing.B) { benchmarkMemory(b, driver) })
	}
}

const (
	idleSessions = 8
	settle       = 3 * time.Second // so that sessions have been pinged, and are idle
)

func benchmarkMemory(b *testing.B, driver string) {
	host := startServer(b, "process")
	agent := findProgram(b, host, host.session(host.deploy(goAgent)).Sandbox)

	s := startServer(b, driver)
	path := s.deploy(goAgent)
	first := s.session(path)
	time.Sleep(settle)
	only := proportional(b, processesOf(b, s, first.Sandbox))
	empty := resident(b, s.pid()) // but for what a first session leaves
	var sessions []operator.Session
	for range idleSessions {
		sessions = append(sessions, s.session(path))
	}
	time.Sleep(settle)
	var session, alone, server series
	u := newBudget(10 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		var sum samples
		for _, one := range sessions {
			sum = append(sum, proportional(b, processesOf(b, s, one.Sandbox)))
		}
		session.round(sum)
		alone.round(samples{proportional(b, []int{agent.pid})})
		server.round(samples{resident(b, s.pid())})
	}
	noTime(b)
	b.ReportMetric(only/1e6, "only-session-MB") // which shares gVisor's executable with nobody
	b.ReportMetric(session.all.median()/1e6, "session-MB")
	b.ReportMetric(alone.all.median()/1e6, "agent-MB")
	b.ReportMetric((session.all.median()-alone.all.median())/1e6, "overhead-MB")
	b.ReportMetric(session.over(&alone), "session/agent")
	b.ReportMetric(server.all.median()/1e6, "server-MB")
	b.ReportMetric((server.all.median()-empty)/idleSessions/1e6, "server-MB/session")

	busy := s.through(path, sessions[0].ID)
	var clients []*client
	for range 32 {
		c := dial(b, busy)
		defer c.close()
		clients = append(clients, c)
	}
	hammer(b, clients, hello, 6400)
	b.ReportMetric(resident(b, s.pid())/1e6, "server-busy-MB")
}

// processesOf are the processes of a sandbox: those in its control group, or,
// for the process driver, those with its folder in their environment.
func processesOf(b *testing.B, s *server, sandbox string) (pids []int) {
	b.Helper()
	file := "cgroup"
	if s.driver == "process" {
		file = "environ"
	}
	all, err := filepath.Glob("/proc/[0-9]*/" + file)
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range all {
		if text, err := os.ReadFile(name); err == nil && bytes.Contains(text, []byte(sandbox)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				b.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		b.Fatalf("sandbox %s has no process", sandbox)
	}
	return pids
}

// proportional is the proportional set size of processes, in bytes: what is
// shared counts for each of those that share it in equal parts.
func proportional(b *testing.B, pids []int) (bytes float64) {
	b.Helper()
	for _, pid := range pids {
		bytes += field(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	}
	return bytes
}

// resident is the resident set size of a process, in bytes.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	return field(b, fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
}

// field reads a number of kibibytes from a file of /proc.
func field(b *testing.B, file, name string) float64 {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == name {
			kib, err := strconv.ParseFloat(words[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib * 1024
		}
	}
	b.Fatalf("%s has no %s", file, name)
	return 0
}
