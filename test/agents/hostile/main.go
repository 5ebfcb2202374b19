// Command hostile is an agent that tries what an agent must not be able to
// do, and tells what worked; and that takes as much as it can get. What it is
// to do is in the invocation.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// order is an invocation.
type order struct {
	Do      string
	Targets []string // addresses to reach
	Files   []string // of the host or of another session, to be read
	Secret  string   // what they hold
	Count   int
}

// answer is what worked: nothing of an attack should. Of a bomb, how far it
// got.
type answer struct {
	Worked []string `json:"worked"`
	Got    int      `json:"got"`
	Error  string   `json:"error,omitempty"`
	IP     string   `json:"ip"`
}

var does = map[string]func(order) answer{
	"reach":   reach,
	"read":    read,
	"kernel":  kernel,
	"plant":   plant,
	"forks":   forks,
	"memory":  memory,
	"disk":    disk,
	"output":  output,
	"sockets": sockets,
	"files":   files,
	"spin":    spin,
	"echo":    func(order) answer { return answer{} },
}

func main() {
	if len(os.Args) > 1 {
		time.Sleep(time.Hour) // a child of forks
	}
	http.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"Healthy"}`) })
	http.HandleFunc("POST /invocations", func(w http.ResponseWriter, r *http.Request) {
		var o order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil || does[o.Do] == nil {
			http.Error(w, fmt.Sprint("no such order ", err), http.StatusBadRequest)
			return
		}
		a := does[o.Do](o)
		a.IP = ownAddress()
		_ = json.NewEncoder(w).Encode(a)
	})
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}

func ownAddress() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	return ""
}

// reach connects to every target, and to its own gateway on their ports.
func reach(o order) (a answer) {
	ports := map[string]bool{}
	for _, t := range o.Targets {
		_, port, _ := net.SplitHostPort(t)
		ports[port] = true
	}
	own := net.ParseIP(ownAddress()).To4()
	for port := range ports {
		for _, d := range []byte{0xff, 1, 3} { // the gateway is the address below; others are neighbours'
			guess := net.IPv4(own[0], own[1], own[2], own[3]+d)
			o.Targets = append(o.Targets, net.JoinHostPort(guess.String(), port))
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, t := range o.Targets {
		all.Add(1)
		go func() {
			defer all.Done()
			c, err := net.DialTimeout("tcp", t, 2*time.Second)
			if err != nil {
				return
			}
			c.Close()
			mu.Lock()
			defer mu.Unlock()
			a.Worked = append(a.Worked, "connect to "+t)
		}()
	}
	all.Wait()
	return a
}

// read looks for the secret in files, by every way to a root that is not its
// own, and in what processes of others would show.
func read(o order) (a answer) {
	for _, file := range o.Files {
		for _, way := range []string{"", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/../../../..", "/../../../..", "/proc/self/fd/0/../../..", "/dev/fd/1/../.."} {
			if b, err := os.ReadFile(way + file); err == nil && strings.Contains(string(b), o.Secret) {
				a.Worked = append(a.Worked, "read "+way+file)
			}
		}
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range environs {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), "ISOLDE_TEST_AS_COMMAND") {
			a.Worked = append(a.Worked, "read the server's environment in "+f)
		}
	}
	for _, f := range []string{"/run/isolde", "/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/sysrq-trigger", "/dev/sda", "/dev/vda", "/run/containerd", "/var/run/docker.sock"} {
		if h, err := os.Open(f); err == nil {
			h.Close()
			a.Worked = append(a.Worked, "open "+f)
		}
	}
	return a
}

// kernel makes the calls that only a host's root may make.
func kernel(order) (a answer) {
	try := func(what string, err error) {
		if err == nil {
			a.Worked = append(a.Worked, what)
		}
	}
	call := func(number, x, y, z uintptr) error {
		if _, _, errno := syscall.RawSyscall(number, x, y, z); errno != 0 {
			return errno
		}
		return nil
	}
	socket := func(domain, kind, proto int) error {
		fd, err := syscall.Socket(domain, kind, proto)
		if err == nil {
			syscall.Close(fd)
		}
		return err
	}
	try("mount a tmpfs", syscall.Mount("x", "/tmp", "tmpfs", 0, ""))
	try("bind the root elsewhere", syscall.Mount("/", "/tmp", "", syscall.MS_BIND, ""))
	try("unmount /proc", syscall.Unmount("/proc", syscall.MNT_DETACH))
	try("make a device", syscall.Mknod("/tmp/disk", syscall.S_IFBLK|0o600, 8<<8))
	try("become root", syscall.Setuid(0))
	try("chroot", syscall.Chroot("/tmp"))
	try("trace process 1", call(syscall.SYS_PTRACE, 16, 1, 0))
	try("read process 1", func() error { _, err := os.Open("/proc/1/mem"); return ignoreOwn(err) }())
	try("set the clock", syscall.Settimeofday(&syscall.Timeval{Sec: 1}))
	try("set the host's name", syscall.Sethostname([]byte("owned")))
	try("restart", syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART))
	module := []byte("x\x00")
	try("load a module", call(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&module[0])), 1, uintptr(unsafe.Pointer(&module[1]))))
	try("swap", call(syscall.SYS_SWAPON, uintptr(unsafe.Pointer(&module[0])), 0, 0))
	try("open a raw socket", socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW))
	try("open a packet socket", socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0x0300))
	try("open an ICMP socket", socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP))
	for _, f := range []string{"/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/memory.max", "/etc/passwd", "/etc/resolv.conf"} {
		try("write "+f, func() error { return os.WriteFile(f, []byte("1"), 0) }())
	}
	return a
}

// ignoreOwn: if the agent is process 1, its memory is its own.
func ignoreOwn(err error) error {
	if err == nil && os.Getpid() == 1 {
		return os.ErrPermission
	}
	return err
}

// plant leaves the secret where another session would look for it.
func plant(o order) (a answer) {
	for _, f := range o.Files {
		if err := os.WriteFile(f, []byte(o.Secret), 0o666); err != nil {
			a.Error = err.Error()
		}
	}
	return a
}

func forks(order) (a answer) {
	for ; ; a.Got++ {
		if err := exec.Command("/proc/self/exe", "child").Start(); err != nil {
			a.Error = err.Error()
			return a
		}
	}
}

var hoard [][]byte

func memory(order) (a answer) {
	for ; ; a.Got++ {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		hoard = append(hoard, b)
	}
}

func disk(order) (a answer) {
	f, err := os.Create("/tmp/big")
	if err == nil {
		defer f.Close()
		for chunk := make([]byte, 1<<20); err == nil; a.Got++ {
			_, err = f.Write(chunk)
		}
	}
	a.Error = err.Error()
	return a
}

// output writes Count MB.
func output(o order) answer {
	line := []byte(strings.Repeat("endless ", 128)[:1023] + "\n")
	for range o.Count << 10 {
		os.Stdout.Write(line)
	}
	return answer{}
}

var kept []any

// sockets opens Count, connected to one another, and as many datagram sockets
// as it gets beyond.
func sockets(o order) (a answer) {
	for ; a.Got < o.Count; a.Got += 2 {
		p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			a.Error = err.Error()
			return a
		}
		kept = append(kept, p)
	}
	for {
		if _, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0); err != nil {
			a.Error = err.Error()
			return a
		}
		a.Got++
	}
}

func files(order) (a answer) {
	for ; ; a.Got++ {
		f, err := os.OpenFile(fmt.Sprint("/tmp/f", a.Got%100), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			a.Error = err.Error()
			return a
		}
		kept = append(kept, f)
	}
}

// spin keeps 64 threads busy, for a while after its answer too.
func spin(order) answer {
	end := time.Now().Add(4 * time.Second)
	for range 64 {
		go func() {
			for time.Now().Before(end) {
			}
		}()
	}
	return answer{}
}
