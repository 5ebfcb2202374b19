package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/isolde-run/isolde/sandbox"
)

// killAll kills every process of the sandbox and returns when they are gone.
// A namespace goes as a whole: the kernel kills everything in it when its
// first process is killed, and reports the end of that one last.
func (s *instance) killAll() error {
	for _, h := range []*handle{s.init, s.agent} {
		if err := h.kill(); err != nil {
			return err
		}
	}
	if err := s.awaitAgent(); err != nil {
		return err
	}
	if err := s.init.awaitEnd(); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		left := s.marked()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended; the next look tells
		}
	}
}

// members are the sandbox's processes: those of its namespace, or those that
// its marks are found on.
func (s *instance) members() []int {
	if s.init == nil {
		return s.marked()
	}
	own, err := os.Readlink(procFile(s.init.PID, "ns/pid"))
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(processes(), func(pid int) bool {
		ns, err := os.Readlink(procFile(pid, "ns/pid"))
		return err != nil || ns != own
	})
}

// marked are the processes that belong to the sandbox by their environment or
// their session. Zombies are left out: they need no killing.
func (s *instance) marked() []int {
	marker := []byte(s.marker())
	return slices.DeleteFunc(processes(), func(pid int) bool {
		fields, err := statFields(pid)
		if err != nil || fields[statState] == "Z" || fields[statState] == "X" {
			return true
		}
		return !s.inSession(pid, fields) && !hasEntry(pid, marker)
	})
}

// inSession says whether a process is in the session that the agent leads, or
// led while this server knew it: a session's number is not given again while
// it has members, but the agent's may be another process's by now. An agent
// that only a record tells of says nothing: its number may be that of a daemon
// started since, whose session lost its leader, too.
func (s *instance) inSession(pid int, fields []string) bool {
	agent := s.record.Agent
	if s.agent == nil || fields[statSession] != strconv.Itoa(agent.PID) {
		return false
	}
	start, err := startTime(agent.PID)
	return err != nil || start == agent.Start
}

// killCommand kills the process group of a command, and what left it but kept
// the command's mark in its environment.
func killCommand(pid int, mark string) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	for range 100 { // what is killed may have forked just before
		marked := slices.DeleteFunc(processes(), func(p int) bool {
			fields, err := statFields(p)
			return err != nil || fields[statState] == "Z" || fields[statState] == "X" || !hasEntry(p, []byte(mark))
		})
		if len(marked) == 0 {
			break
		}
		for _, p := range marked {
			_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended; the next look tells
		}
		time.Sleep(2 * time.Millisecond)
	}
	return err
}

func hasEntry(pid int, entry []byte) bool {
	environ, err := os.ReadFile(procFile(pid, "environ"))
	return err == nil && slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(e []byte) bool { return bytes.Equal(e, entry) })
}

// measure adds up /proc/<pid>/stat of the members.
func (s *instance) measure() (sandbox.Stats, error) {
	var stats sandbox.Stats
	for _, pid := range s.members() {
		fields, err := statFields(pid)
		if err != nil {
			continue // it ended meanwhile
		}
		for _, f := range fields[statUTime : statCSTime+1] {
			ticks, _ := strconv.ParseInt(f, 10, 64)
			stats.CPU += time.Duration(ticks) * time.Second / clockTicks
		}
		pages, _ := strconv.ParseInt(fields[statRSS], 10, 64)
		stats.MemoryBytes += pages * int64(os.Getpagesize())
		threads, _ := strconv.Atoi(fields[statThreads])
		stats.Tasks += threads
	}
	return stats, nil
}

// clockTicks are in a second of /proc/<pid>/stat; the kernel's interface fixes
// them on all platforms that Go runs on.
const clockTicks = 100

func processes() []int {
	entries, _ := os.ReadDir("/proc")
	pids := make([]int, 0, len(entries))
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
