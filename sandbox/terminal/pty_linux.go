package terminal

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde/sandbox"
)

// pty is a pseudo-terminal of the host. The kernel holds a few KB of what the
// command shows and then lets it wait until that is read.
type pty struct {
	terminal sandbox.Terminal
	out      sandbox.WriteFunc
	ready    <-chan struct{}
	master   *os.File
	replica  *os.File // the command's end

	shown chan struct{} // closed when no more output comes
	ended chan struct{} // closed when what is typed matters no more
	hands sync.WaitGroup
}

func openPTY(t sandbox.Terminal, out sandbox.WriteFunc, ready <-chan struct{}) (*pty, error) {
	// In non-blocking mode, so that the runtime's poller waits on it.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a pseudo-terminal: %w", err)
	}
	p := &pty{
		terminal: t, out: out, ready: ready, master: os.NewFile(uintptr(fd), "/dev/ptmx"),
		shown: make(chan struct{}), ended: make(chan struct{}),
	}
	if p.replica, err = openReplica(fd); err != nil {
		p.master.Close()
		return nil, fmt.Errorf("open a pseudo-terminal: %w", err)
	}
	p.setSize(t.Size)
	return p, nil
}

func openReplica(master int) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, os.NewSyscallError("ioctl TIOCSPTLCK", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return nil, os.NewSyscallError("ioctl TIOCGPTN", err)
	}
	return os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
}

// attach makes it the streams and the controlling terminal of a process.
func (p *pty) attach(process *exec.Cmd) {
	process.Stdin, process.Stdout, process.Stderr = p.replica, p.replica, p.replica
	process.SysProcAttr.Setctty = true
	process.SysProcAttr.Ctty = 0 // standard input
}

// carry begins to carry what is typed and shown.
func (p *pty) carry() {
	p.replica.Close() // or the end of the process would not be the end of the output
	go func() {
		defer close(p.shown)
		// It ends with EIO when nobody has the other end any more.
		_, _ = io.Copy(p.out, p.master)
	}()
	p.hands.Go(p.operate)
}

// operate passes on what is typed, and the sizes of the window.
func (p *pty) operate() {
	select {
	case <-p.ready:
	case <-p.ended:
		return
	}
	go func() { // not waited for: see sandbox.Terminal
		_, _ = io.Copy(p.master, p.terminal.Input)
	}()
	for {
		select {
		case size := <-p.terminal.Resize:
			p.setSize(size)
		case <-p.ended:
			return
		}
	}
}

func (p *pty) setSize(size sandbox.WindowSize) {
	raw, err := p.master.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size.Columns, Row: size.Rows})
	})
}

// finish returns when the output of a process that has ended was taken. What
// it left running may hold the terminal open; that is waited for no longer
// than delay.
func (p *pty) finish(delay time.Duration) {
	if delay > 0 { // as exec.Cmd has it
		_ = p.master.SetReadDeadline(time.Now().Add(delay))
	}
	<-p.shown
	close(p.ended)
	p.hands.Wait()
}

// close hangs up. The kernel tells those who still have the terminal.
func (p *pty) close() {
	p.master.Close()
	p.replica.Close() // again, if it was carried
}
