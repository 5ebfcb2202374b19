package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handle is a process and a descriptor of it, which is never another's.
// Methods but close work on a nil handle as on a process that has ended.
type handle struct {
	identity
	file  *os.File // a pidfd
	child bool     // of this server, which can learn its exit status
}

// start starts a process in a session of its own, with clone flags, from the
// thread on which enter calls what it is given. The process has nothing of the
// server's but its output, and outlives it.
func (c command) start(cloneFlags uintptr, enter func(start func() error) error) (*handle, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, fd := 0, -1
	err = enter(func() (err error) {
		pid, _, err = syscall.StartProcess(c.path, c.argv, &syscall.ProcAttr{
			Dir:   c.dir,
			Env:   c.env,
			Files: []uintptr{null.Fd(), c.output.Fd(), c.output.Fd()},
			Sys:   &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneFlags, PidFD: &fd},
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	h, err := newHandle(pid, fd)
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return nil, err
	}
	h.child = true
	return h, nil
}

// openHandle finds a process again. os.ErrProcessDone when it has ended.
func openHandle(id identity) (*handle, error) {
	h, err := newHandle(id.PID, -1)
	if err != nil {
		return nil, errors.Join(os.ErrProcessDone, err)
	}
	if h.Start != id.Start {
		h.close()
		return nil, os.ErrProcessDone
	}
	// It is a child where one process plays a server and then the next.
	h.child = !errors.Is(unix.Waitid(unix.P_PID, id.PID, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD)
	if h.ended() {
		_, _ = h.reap()
		h.close()
		return nil, os.ErrProcessDone
	}
	return h, nil
}

// newHandle wraps a pidfd, or opens one if fd is -1. The descriptor is in
// non-blocking mode, so that the runtime's poller waits on it.
func newHandle(pid, fd int) (*handle, error) {
	var err error
	if fd < 0 {
		if fd, err = unix.PidfdOpen(pid, 0); err != nil {
			return nil, os.NewSyscallError("pidfd_open", err)
		}
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	h := &handle{identity: identity{PID: pid}, file: os.NewFile(uintptr(fd), "pidfd")}
	if h.Start, err = startTime(pid); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// wait returns when the process has ended: with its status if it is a child,
// with ECHILD if not, with os.ErrClosed once the handle is closed.
func (h *handle) wait() (syscall.WaitStatus, error) {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
	if err != nil {
		return 0, err
	}
	return h.reap()
}

// reap returns the status of an ended child.
func (h *handle) reap() (syscall.WaitStatus, error) {
	if !h.child {
		return 0, syscall.ECHILD
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(h.PID, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			h.child = false // its number may be another's from now on
			return status, err
		}
	}
}

// ended says whether the process has ended, reaped or not.
func (h *handle) ended() bool {
	if h == nil {
		return true
	}
	ended := true
	// A closed handle tells nothing; its user has let the process go.
	_ = h.control(func(fd int) { ended = readable(fd) })
	return ended
}

// signal sends a signal. os.ErrProcessDone when the process has ended.
func (h *handle) signal(sig syscall.Signal) error {
	if h == nil {
		return os.ErrProcessDone
	}
	var sent error
	if err := h.control(func(fd int) { sent = unix.PidfdSendSignal(fd, sig, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return sent
}

// kill sends SIGKILL, if the process has not ended.
func (h *handle) kill() error {
	if err := h.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", h.PID, err)
	}
	return nil
}

// awaitEnd waits for the end of a killed process and reaps it.
func (h *handle) awaitEnd() error {
	for deadline := time.Now().Add(patience); !h.ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end", h.PID)
		}
	}
	if h != nil {
		_, _ = h.reap()
	}
	return nil
}

// control runs f with the descriptor, unless it is closed.
func (h *handle) control(f func(fd int)) error {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// close lets go of the process.
func (h *handle) close() {
	if h != nil {
		h.file.Close()
	}
}

func readable(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// startTime reads when a process started, in clock ticks since the boot.
func startTime(pid int) (string, error) {
	fields, err := statFields(pid)
	if err != nil {
		return "", err
	}
	return fields[statStart], nil
}

// Fields of /proc/<pid>/stat after the command's name, from proc(5).
const (
	statState   = 0
	statSession = 3
	statUTime   = 11
	statCSTime  = 14
	statThreads = 17
	statStart   = 19
	statRSS     = 21
)

func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) <= statRSS {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}

// bootID changes when the machine starts anew.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

func portHolder(port int) string { return fmt.Sprintf("ss -ltnp 'sport = :%d'", port) }
