package gvisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// identity tells a process from any other with the same number before or
// after it.
type identity struct {
	PID   int
	Start string // when it started: field 22 of /proc/<pid>/stat
	Boot  string // of the machine
}

// identify reads the identity of a process that exists.
func identify(pid int) (identity, error) {
	_, start, err := readStat(pid)
	if err != nil {
		return identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, err
	}
	return identity{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// readStat returns a process's state, such as 'Z', and its start time.
func readStat(pid int) (state byte, start string, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, "", err
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return 0, "", fmt.Errorf("stat of process %d has %d fields", pid, len(fields))
	}
	return fields[0][0], fields[19], nil
}

// open returns a descriptor of the process. It becomes readable when the
// process has ended. The error is unix.ESRCH when it is gone.
func (i identity) open() (*os.File, error) {
	if i.PID <= 0 {
		return nil, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(i.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !i.exists() {
		f.Close()
		return nil, unix.ESRCH
	}
	return f, nil
}

// exists says whether the process has not been reaped.
func (i identity) exists() bool {
	if i.PID <= 0 {
		return false
	}
	now, err := identify(i.PID)
	return err == nil && now == i
}

// alive says whether the process exists and has not ended.
func (i identity) alive() bool {
	f, err := i.open()
	if err != nil {
		return false
	}
	defer f.Close()
	return !ended(f)
}

// ended says whether the process of a descriptor has ended.
func ended(pidfd *os.File) (yes bool) {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return true
	}
	_ = raw.Control(func(fd uintptr) { yes = readable(fd) })
	return yes
}

func readable(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// await blocks without a thread until the process has ended or the descriptor
// is closed or past its deadline.
func await(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(readable)
}

// reap takes the exit status of a process that has ended, if it is a child of
// this one. It is 128+n for signal n, and -1 if it is not known.
func reap(pid int) int {
	var status unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || got != pid:
			return -1
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

// adopting counts the callers of adopt. The setting is the process's.
var adopting struct {
	sync.Mutex
	n int
}

// adopt makes this process the parent of the orphans among its descendants
// until release is called. Calls nest.
func adopt() (release func(), err error) {
	adopting.Lock()
	defer adopting.Unlock()
	if adopting.n == 0 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("become the parent of orphans: %w", err)
		}
	}
	adopting.n++
	return func() {
		adopting.Lock()
		defer adopting.Unlock()
		if adopting.n--; adopting.n == 0 {
			_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		}
	}, nil
}

// killAll kills processes until list, which returns their ids, finds none, and
// reaps those that this process has adopted, except the one whose status the
// caller wants.
func killAll(list func() ([]int, error), except int) error {
	killed := map[int]*os.File{}
	defer func() {
		for pid, pidfd := range killed {
			if pid != except {
				_ = pidfd.SetReadDeadline(time.Now().Add(patience))
				_ = await(pidfd)
				reap(pid)
			}
			pidfd.Close()
		}
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		pids, err := list()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", pids)
		}
		for _, pid := range pids {
			if killed[pid] == nil {
				fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
				if err != nil {
					continue // it ended meanwhile
				}
				killed[pid] = os.NewFile(uintptr(fd), "pidfd")
			}
			_ = signalTo(killed[pid], unix.SIGKILL) // it may have ended
		}
	}
}

// patience bounds the wait for what the kernel does to a killed process. The
// last one of a sandbox with a volume has that written to the disk first.
const patience = time.Minute

// signalTo sends a signal to the process of a descriptor.
func signalTo(pidfd *os.File, sig unix.Signal) (err error) {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); e != nil {
		return e
	}
	return err
}
