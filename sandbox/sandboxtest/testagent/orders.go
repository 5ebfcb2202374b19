package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// orders are what an invocation may ask for, beside the streaming ones.
var orders = map[string]func(*agent, order.Order) (order.Reply, error){
	// Memory and files.
	"remember": func(a *agent, o order.Order) (order.Reply, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.memory[o.Key] = o.Value
		return order.Reply{}, nil
	},
	"recall": func(a *agent, o order.Order) (order.Reply, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return order.Reply{Value: a.memory[o.Key]}, nil
	},
	"write": func(_ *agent, o order.Order) (order.Reply, error) {
		return order.Reply{}, os.WriteFile(o.Path, []byte(o.Value), 0o644)
	},
	"read": func(_ *agent, o order.Order) (order.Reply, error) {
		b, err := os.ReadFile(o.Path)
		return order.Reply{Value: string(b)}, err
	},
	"list": func(_ *agent, o order.Order) (order.Reply, error) {
		entries, err := os.ReadDir(o.Path)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return order.Reply{Value: strings.Join(names, " ")}, err
	},
	"link":   func(_ *agent, o order.Order) (order.Reply, error) { return order.Reply{}, os.Symlink(o.Value, o.Path) },
	"remove": func(_ *agent, o order.Order) (order.Reply, error) { return order.Reply{}, os.Remove(o.Path) },

	// A look around.
	"info": func(*agent, order.Order) (order.Reply, error) { return info() },
	"dial": func(_ *agent, o order.Order) (order.Reply, error) {
		conn, err := net.DialTimeout("tcp", o.Address, max(time.Second, time.Duration(o.Millis)*time.Millisecond))
		if err == nil {
			conn.Close()
		}
		return order.Reply{}, err
	},

	// Output and time.
	"echo": func(_ *agent, o order.Order) (order.Reply, error) { return order.Reply{Value: o.Value}, nil },
	"fail": func(_ *agent, o order.Order) (order.Reply, error) {
		return order.Reply{}, fmt.Errorf("told to fail: %s", o.Value)
	},
	"sleep": func(_ *agent, o order.Order) (order.Reply, error) {
		time.Sleep(time.Duration(o.Millis) * time.Millisecond)
		return order.Reply{}, nil
	},
	"print": func(_ *agent, o order.Order) (order.Reply, error) {
		fmt.Println(o.Value)
		fmt.Fprintln(os.Stderr, "stderr: "+o.Value)
		return order.Reply{}, nil
	},
	"ping": func(a *agent, o order.Order) (order.Reply, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.pingStatus = o.Value
		if o.Code != 0 {
			a.pingCode = o.Code
		}
		return order.Reply{}, nil
	},

	// Ends. The agent answers first, so that a test can tell the answer from
	// the end.
	"exit": func(_ *agent, o order.Order) (order.Reply, error) {
		time.AfterFunc(50*time.Millisecond, func() { os.Exit(o.Code) })
		return order.Reply{}, nil
	},
	"crash": func(*agent, order.Order) (order.Reply, error) {
		time.AfterFunc(50*time.Millisecond, func() { panic("told to crash") })
		return order.Reply{}, nil
	},
	"kill-self": func(_ *agent, o order.Order) (order.Reply, error) {
		time.AfterFunc(time.Duration(50+o.Millis)*time.Millisecond, func() {
			fmt.Println("testagent: kills itself")
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
		return order.Reply{}, nil
	},
	"ignore-term": func(*agent, order.Order) (order.Reply, error) {
		signal.Ignore(syscall.SIGTERM)
		return order.Reply{}, nil
	},

	// Use of resources.
	"burn": func(_ *agent, o order.Order) (order.Reply, error) {
		for end := time.Now().Add(time.Duration(o.Millis) * time.Millisecond); time.Now().Before(end); {
		}
		return order.Reply{}, nil
	},
	"memory": hoard,
	"disk":   fill,
	"fork":   fork,
	"spawn": func(_ *agent, o order.Order) (order.Reply, error) {
		var started int64
		for ; started < o.Count; started++ {
			if err := self("sleep").Start(); err != nil {
				return order.Reply{Value: strconv.FormatInt(started, 10)}, err
			}
		}
		return order.Reply{Value: strconv.FormatInt(started, 10)}, nil
	},
}

func info() (order.Reply, error) {
	in := &order.Info{Args: os.Args, Env: os.Environ(), UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid()}
	var err error
	if in.Dir, err = os.Getwd(); err != nil {
		return order.Reply{}, err
	}
	if in.Hostname, err = os.Hostname(); err != nil {
		return order.Reply{}, err
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			in.PIDs = append(in.PIDs, pid)
		}
	}
	return order.Reply{Info: in}, nil
}

// hoard allocates and touches Count bytes and keeps them; 0 frees them.
func hoard(a *agent, o order.Order) (order.Reply, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.Count == 0 {
		a.hoard = nil
		return order.Reply{}, nil
	}
	b := make([]byte, o.Count)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	a.hoard = append(a.hoard, b)
	return order.Reply{}, nil
}

// fill writes Count bytes to Path.
func fill(_ *agent, o order.Order) (order.Reply, error) {
	f, err := os.Create(o.Path)
	if err != nil {
		return order.Reply{}, err
	}
	defer f.Close()
	chunk := []byte(strings.Repeat("isolde\n", 64<<10/7))
	var written int64
	for written < o.Count {
		n, err := f.Write(chunk[:min(int64(len(chunk)), o.Count-written)])
		written += int64(n)
		if err != nil {
			return order.Reply{Value: strconv.FormatInt(written, 10)}, err
		}
	}
	return order.Reply{Value: strconv.FormatInt(written, 10)}, f.Sync()
}

// childArg makes testagent be a child of the agent.
const childArg = "--child"

// fork leaves Count processes behind that are no children of the agent: each
// was started in a session of its own by a parent that has ended, and ignores
// every signal that can be ignored.
func fork(_ *agent, o order.Order) (order.Reply, error) {
	for range max(o.Count, 1) {
		cmd := self("detach")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return order.Reply{}, fmt.Errorf("fork: %w: %s", err, out)
		}
	}
	return order.Reply{}, nil
}

// self is a command that runs this binary as a child.
func self(mode string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		fatal(err)
	}
	return exec.Command(exe, childArg, mode)
}

func child(args []string) {
	if len(args) == 1 && args[0] == "terminal" {
		sit()
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	if len(args) == 1 && args[0] == "detach" {
		cmd := self("sleep")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			fatal(err)
		}
		return
	}
	if len(args) >= 1 && args[0] == "exec" {
		execute(args[1:])
		return
	}
	for {
		time.Sleep(time.Hour)
	}
}

// execute is what the suite runs beside the agent: write to stdout and
// stderr, then exit with a code, or sleep, or count what comes on stdin.
func execute(args []string) {
	if len(args) == 1 && args[0] == "count" {
		n, err := io.Copy(io.Discard, os.Stdin)
		if err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%d bytes\n", n)
		return
	}
	if len(args) == 1 && args[0] == "sleep" {
		fmt.Println("sleeps")
		for {
			time.Sleep(time.Hour)
		}
	}
	dir, _ := os.Getwd()
	fmt.Println("out", strings.Join(args, " "), dir, os.Getenv("EXTRA"))
	fmt.Fprintln(os.Stderr, "err")
	os.Exit(7)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "testagent:", err)
	os.Exit(5)
}
