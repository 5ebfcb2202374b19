package sandboxtest

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Harness is what the suite needs to know of a driver.
type Harness struct {
	// Open opens the driver on a state folder. The suite calls it again with
	// the same folder to play a new server, also from another process. What
	// Open makes beside the driver (a router) must go with the driver's Close
	// or t.Cleanup, and be found again by the next Open on the folder.
	Open func(t *testing.T, state string) sandbox.Driver
	// Port is where agents listen; 0 is 8080. A driver without own networks
	// takes a port that is free on the host.
	Port int
	// ForksEscape names why children that leave the agent's session cannot be
	// caught where this driver runs. Empty: they must be.
	ForksEscape string
	// Watch names further folders for [Watch].
	Watch []string
}

// A testCase runs on a driver of its own, after which nothing may be left.
type testCase struct {
	name string
	run  func(t *testing.T, b *bench)
}

func cases() []testCase {
	return []testCase{
		{"starts and is dialed", testStart},
		{"is as the spec says", testSpec},
		{"appends output to its log", testLog},
		{"has memory, files and ports of its own", testApart},
		{"keeps its bound", testBound},
		{"tells how the agent ended", testExit},
		{"stops politely", testStopPolite},
		{"stops an agent that ignores it", testStopStubborn},
		{"stops at once", testStopAtOnce},
		{"stops once for many callers", testStopConcurrent},
		{"stops amid a stream", testStopStreaming},
		{"takes children along", testChildren},
		{"starts nothing when cancelled", testCancelledStart},
		{"leaves nothing of a start cancelled midway", testCancelMidway},
		{"refuses what cannot be executed", testNotExecutable},
		{"recovers what runs", testRecover},
		{"cleans what died meanwhile", testRecoverDead},
		{"measures", testStats},
		{"executes commands", testExec},
		{"executes commands on a terminal", testTerminal},
		{"bounds memory and disk", testLimits},
		{"keeps volumes", testVolume},
		{"mounts folders of the host", testMounts},
		{"outlives a server that was killed", testServerKilled},
		{"survives a server killed amid starts", testServerKilledMidway},
	}
}

// Run puts a driver through the suite. It builds the agent first, which takes
// the go command.
func Run(t *testing.T, h Harness) {
	if h.Port == 0 {
		h.Port = 8080
	}
	if os.Getenv(crashEnv) != "" {
		h.crash(t)
		return
	}
	agent := BuildAgent(t)
	root := NewRoot(t, agent)
	// Nothing of the server's environment may be seen inside.
	t.Setenv("ISOLDE_TEST_SECRET", "of the server")
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			state := TempDir(t)
			leftovers := Watch(append([]string{state, root.Host.Code}, h.Watch...)...)
			t.Cleanup(func() { leftovers.Check(t) })
			b := &bench{harness: h, state: state, root: root, leftovers: leftovers}
			b.driver = b.open(t)
			recovered, err := b.driver.Recover(t.Context())
			if err != nil || len(recovered) > 0 {
				t.Fatalf("Recover in an empty state folder = %v, %v", recovered, err)
			}
			c.run(t, b)
		})
	}
}

// bench is a driver under test and what its sandboxes start from.
type bench struct {
	harness   Harness
	state     string
	root      sandbox.Root
	driver    sandbox.Driver
	leftovers *Leftovers
}

// open opens the driver and closes it after the test.
func (b *bench) open(t *testing.T) sandbox.Driver {
	t.Helper()
	d := b.harness.Open(t, b.state)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the driver: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("close the driver again: %v", err)
		}
	})
	return d
}

// restart closes the driver and opens it again, as a new server does.
func (b *bench) restart(t *testing.T) []sandbox.Sandbox {
	t.Helper()
	if err := b.driver.Close(); err != nil {
		t.Fatalf("close the driver: %v", err)
	}
	b.driver = b.open(t)
	found, err := b.driver.Recover(t.Context())
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	return found
}

// spec is that of a sandbox that runs the agent with the arguments.
func (b *bench) spec(t *testing.T, args ...string) sandbox.Spec {
	spec := newSpec(b.harness, b.root, TempDir(t), args...)
	b.leftovers.Own(spec.ID)
	return spec
}

func newSpec(h Harness, root sandbox.Root, logDir string, args ...string) sandbox.Spec {
	id := sandbox.NewID()
	host := *root.Host
	host.Command = append([]string{"./agent"}, args...)
	root.Host = &host
	egress := isolde.EgressNone
	if h.Port != 8080 {
		egress = isolde.EgressInternet // agents use the host's network, whose policy is nobody's
	}
	return sandbox.Spec{
		ID:        id,
		Root:      root,
		Command:   append([]string{agentPath}, args...),
		Env:       []string{"TESTAGENT_PORT=" + strconv.Itoa(h.Port), "PATH=/bin", "HOME=/work", "DOCKER_CONTAINER=1", "WITH_SPACE=a b=c"},
		Dir:       "/work",
		UID:       1000,
		GID:       1000,
		Hostname:  "host-of-" + string(id),
		Ports:     []int{h.Port},
		Resources: isolde.Resources{CPUs: 2, MemoryBytes: 1 << 30, Processes: 512, DiskBytes: 256 << 20},
		Network:   isolde.Network{Egress: egress},
		LogFile:   logDir + "/agent.log",
		Labels:    map[string]string{"session": "a session/with: any text", "empty": ""},
	}
}

// start starts a sandbox, waits until its agent is healthy, and kills it after
// the test.
func (b *bench) start(t *testing.T, spec sandbox.Spec) *peer {
	t.Helper()
	s, err := b.driver.Start(t.Context(), spec)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	p := b.peer(t, s, spec)
	p.waitHealthy(t)
	return p
}

// peer wraps a sandbox and kills it after the test, unless a later driver
// found it and has it now.
func (b *bench) peer(t *testing.T, s sandbox.Sandbox, spec sandbox.Spec) *peer {
	driver := b.driver
	t.Cleanup(func() {
		if driver != b.driver {
			return
		}
		if err := s.Stop(context.Background(), 0); err != nil {
			t.Errorf("stop at the end of the test: %v", err)
		}
	})
	return &peer{Sandbox: s, spec: spec, port: b.harness.Port}
}

// The server that crashes is this test binary again, running the same test
// with these in its environment.
const (
	crashEnv      = "ISOLDE_SANDBOXTEST_CRASH" // "started": blocks after a start; "starting": starts until killed
	crashStateEnv = "ISOLDE_SANDBOXTEST_STATE"
	crashImageEnv = "ISOLDE_SANDBOXTEST_IMAGE"
	crashCodeEnv  = "ISOLDE_SANDBOXTEST_CODE"
	crashPortEnv  = "ISOLDE_SANDBOXTEST_PORT"
)

// crash is the life of that server. It ends by SIGKILL.
func (h Harness) crash(t *testing.T) {
	h.Port, _ = strconv.Atoi(os.Getenv(crashPortEnv))
	state := os.Getenv(crashStateEnv)
	root := sandbox.Root{Image: os.Getenv(crashImageEnv), Host: &sandbox.HostRoot{Code: os.Getenv(crashCodeEnv)}}
	d := h.Open(t, state)
	if _, err := d.Recover(t.Context()); err != nil {
		t.Fatalf("recover: %v", err)
	}
	spec := newSpec(h, root, state)
	if d.Capabilities().Volumes == nil {
		spec = addVolume(spec, state, "data")
	}
	if os.Getenv(crashEnv) == "starting" {
		os.Stdout.WriteString("crash: starting " + string(spec.ID) + "\n")
	}
	if _, err := d.Start(context.Background(), spec); err != nil {
		t.Fatalf("start: %v", err)
	}
	os.Stdout.WriteString("crash: started " + string(spec.ID) + "\n")
	select {}
}

// killServer starts a server, lets it come to the point that it says with
// "crash: <point> <id>" and a little further, and kills it with its process
// group, as a terminal does that goes away, but harder. It returns the id of
// the sandbox that the server started.
func (b *bench) killServer(t *testing.T, point string, further time.Duration) sandbox.ID {
	t.Helper()
	top, _, _ := strings.Cut(t.Name(), "/")
	server := exec.Command(os.Args[0], "-test.run=^"+top+"$", "-test.v", "-test.timeout=60s")
	server.Env = append(os.Environ(), crashEnv+"="+point, crashStateEnv+"="+b.state,
		crashImageEnv+"="+b.root.Image, crashCodeEnv+"="+b.root.Host.Code, crashPortEnv+"="+strconv.Itoa(b.harness.Port))
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	var said strings.Builder
	for lines := bufio.NewScanner(out); id == "" && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		_, id, _ = strings.Cut(lines.Text(), "crash: "+point+" ")
	}
	time.Sleep(further)
	_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
	_ = server.Wait()
	if id == "" {
		t.Fatalf("the server did not come to %q:\n%s", point, said.String())
	}
	b.leftovers.Own(sandbox.ID(id))
	return sandbox.ID(id)
}
