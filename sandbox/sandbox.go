// Package sandbox is the seam between sessions and what isolates them: a
// [Driver] starts sandboxes, a [Sandbox] is one running agent.
//
// A driver owns everything it makes for a sandbox (processes, namespaces,
// mounts, links, control groups, files) and takes all of it away in
// [Sandbox.Stop], also after a crash of the agent, of the driver's own helper
// processes or of the server. A sandbox does not die with the server: a new
// server finds it again with [Driver.Recover]. Every driver passes the suite
// in sandbox/sandboxtest.
package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/isolde-run/isolde"
)

// Driver starts sandboxes of one kind. All methods are safe for concurrent
// use.
type Driver interface {
	// Name is the driver's name on the command line, e.g. "gvisor".
	Name() string

	// Capabilities says what the driver's sandboxes are and can do. It does
	// not change after the driver was opened.
	Capabilities() Capabilities

	// Start makes a sandbox and starts the agent's process in it. It returns
	// once the process runs; whether the agent is healthy is the caller's to
	// find out. When it fails, or ctx ends first, nothing is left of it. After
	// it returned, ctx has no hold on the sandbox. Errors: CodeUnsupported
	// when the driver lacks something for this spec, CodeQuota when a limit of
	// the machine is reached, CodeAgent when the command cannot be executed,
	// else internal.
	Start(ctx context.Context, spec Spec) (Sandbox, error)

	// Recover returns the sandboxes that an earlier server left running under
	// the driver's state folder, and takes away what is left of dead ones. It
	// is called once, before the first Start.
	Recover(ctx context.Context) ([]Sandbox, error)

	// Close releases what the driver itself holds (goroutines, descriptors,
	// and shared network pieces if no sandbox is left). Running sandboxes go
	// on. Idempotent.
	Close() error
}

// Execer is implemented by sandboxes that can run further commands.
type Execer interface {
	// Exec runs a command beside the agent: same files, environment and
	// limits. It returns when the command has ended, with the exit code, 128+n
	// for signal n; or when ctx did: then the command and all that it started
	// are killed, as far as they kept its environment or its process group.
	// What a command that ended by itself left in the background runs on until
	// the sandbox ends. Output is read as fast as it is taken. The error has
	// ErrNotExecutable in its chain when there is no such program, and
	// CodeUnsupported for a terminal where the driver has none. Safe for
	// concurrent use.
	Exec(ctx context.Context, cmd Command) (exitCode int, err error)
}

// ErrNotExecutable is that a command names no program of the sandbox.
var ErrNotExecutable = errors.New("not an executable")

// CommandVariable is in the environment of what a command started, with a
// value of its own, so that a driver finds it all.
const CommandVariable = "ISOLDE_COMMAND"

// Sandbox is one running agent. All methods are safe for concurrent use.
type Sandbox interface {
	// ID is the id of the Spec the sandbox was started with.
	ID() ID

	// Labels are the labels of the Spec, also after Recover.
	Labels() map[string]string

	// Dial connects to a TCP port of the agent. It fails with
	// ECONNREFUSED in its chain when nothing listens there, and with
	// net.ErrClosed once the sandbox is stopped. ctx bounds the dial only.
	Dial(ctx context.Context, port int) (net.Conn, error)

	// Stats measures the sandbox now. Values that the driver cannot measure
	// are zero.
	Stats(ctx context.Context) (Stats, error)

	// Done is closed when the agent's process has ended, for whatever reason.
	Done() <-chan struct{}

	// Exit tells how the agent's process ended; valid once Done is closed.
	Exit() Exit

	// Stop ends the agent (SIGTERM, and SIGKILL after grace; at once if grace
	// is zero) and takes away everything the driver made for the sandbox.
	// It must be called after Done as well. Idempotent; a second call waits
	// for the first. ctx bounds only the polite part: when it ends the agent
	// is killed. An error says what could not be taken away.
	Stop(ctx context.Context, grace time.Duration) error
}

// ID names a sandbox on its machine. It is made by [NewID] and fits in
// interface and control group names.
type ID string

// Spec is everything a driver needs to start a sandbox. Pure data.
type Spec struct {
	ID        ID
	Root      Root
	Command   []string // argv; Command[0] is a path in the root, absolute or looked up in PATH of Env
	Env       []string // "K=V", complete: nothing of the server's environment is added
	Dir       string   // working directory in the root, absolute
	UID, GID  uint32   // who the agent runs as
	Hostname  string   // empty: the ID
	Ports     []int    // where the agent listens; the first serves invocations
	Resources isolde.Resources
	Network   isolde.Network
	Volumes   []Volume          // kept when the sandbox ends
	Mounts    []Mount           // folders of the host
	LogFile   string            // host path; the agent's stdout and stderr are appended to it
	Labels    map[string]string // kept with the sandbox; returned after Recover
}

// Root is the file system a sandbox starts from.
type Root struct {
	// Image is the host path of an EROFS file, shared by all sandboxes of a
	// version. What a sandbox writes is its own and goes with it.
	Image string
	// Host is the same agent for a driver without a root of its own; nil for
	// images that need one.
	Host *HostRoot
}

// HostRoot runs an agent on the host's own files.
type HostRoot struct {
	Code    string   // host folder with the agent's code; copied for every sandbox, the copy is the working directory
	Command []string // argv with host paths, relative ones resolved in the copy; replaces Spec.Command
	Env     []string // "K=V", added to Spec.Env, winning over it
}

// Volume is a folder that outlives the sandbox, bounded in size. The next
// sandbox that names its file finds what this one left; no two may at once. A
// Start waits for one that has ended to let go of it.
type Volume struct {
	Path  string // where the agent finds it: a folder below /mnt, which need not be in the root
	File  string // host path of what holds it; made by Start if missing, in a folder that exists
	Bytes int64  // what it holds; of no effect once it is made
}

// Mount is a folder of the host in a sandbox. Owners and permissions are the
// host's, by number; setuid bits and device nodes have no effect in it.
type Mount struct {
	Path     string // where the agent finds it: a folder below /mnt, which need not be in the root
	Root     string // host folder that links within must not lead out of
	Folder   string // below Root, what is mounted; "." is Root itself
	ReadOnly bool
}

// Capabilities describe a driver.
type Capabilities struct {
	// Isolation is one sentence on what stands between the agent and the host.
	Isolation string
	// Isolated is false for a driver that lets an agent reach the host's
	// files or processes. Such a driver is refused beyond loopback.
	Isolated bool
	// OwnRoot says that each sandbox has the file system of its image, so that
	// any image runs; without, only images with a Host form do.
	OwnRoot bool
	// OwnNetwork says that each sandbox has ports of its own.
	OwnNetwork bool
	// Volumes and Mounts are nil if sandboxes can have them, else why not, with
	// CodeUnsupported and a hint.
	Volumes, Mounts error
	// MaxSandboxes bounds how many can run at once; 0 is no bound.
	MaxSandboxes int
}

// Command is a command to run in a sandbox beside the agent.
type Command struct {
	Args   []string
	Env    []string // added to the agent's
	Dir    string   // empty: the agent's
	Stdout WriteFunc
	Stderr WriteFunc
	// Stdin is its standard input where it has no terminal; nil: it has none.
	// Exec may return while a Read is under way.
	Stdin io.Reader
	// Terminal, if set, is what the command runs on, as the leader of a session
	// of its own: standard input and both outputs are the terminal. What it
	// shows goes to Stdout.
	Terminal *Terminal
}

// Terminal is a command's terminal, as whoever sits at it has it.
type Terminal struct {
	Size WindowSize // when the command starts
	// Input is what is typed. It is read while the terminal takes it; its end
	// is none for the command. Exec does not wait for a Read that is under way
	// when the command ends.
	Input io.Reader
	// Resize has the sizes that the window gets, until the command ends. It is
	// not closed; nil: the size stays.
	Resize <-chan WindowSize
}

// WindowSize is the size of a terminal's window in characters.
type WindowSize struct{ Columns, Rows uint16 }

// WriteFunc takes output as it comes. The slice is valid during the call.
type WriteFunc func(p []byte) error

// Write makes a WriteFunc an io.Writer; a nil one discards.
func (f WriteFunc) Write(p []byte) (int, error) {
	if f != nil {
		if err := f(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Stats are measurements of a running sandbox.
type Stats struct {
	CPU         time.Duration // CPU time used since the start
	MemoryBytes int64         // resident now, sandbox overhead included
	Tasks       int           // host tasks now
}

// Exit is how an agent's process ended.
type Exit struct {
	Code   int        // exit status; 128+n for signal n; -1 if it is not known
	Reason ExitReason // why, as far as the driver can tell
}

// ExitReason tells causes of an exit apart.
type ExitReason string

// The reasons.
const (
	ExitedItself   ExitReason = "exited"        // the process ended by itself
	ExitedKilled   ExitReason = "killed"        // by Stop, or by somebody on the host
	ExitedNoMemory ExitReason = "out of memory" // it reached its memory limit
	ExitedNoTasks  ExitReason = "out of tasks"  // it reached its limit of processes
)

// String reads like "exited with code 1" or "ran out of memory".
func (e Exit) String() string {
	switch {
	case e.Reason == ExitedNoMemory:
		return "ran out of memory and was killed"
	case e.Reason == ExitedNoTasks:
		return "reached its limit of processes and ended with code " + strconv.Itoa(e.Code)
	case e.Reason == ExitedKilled || e.Code < 0:
		return "was killed"
	default:
		return "exited with code " + strconv.Itoa(e.Code)
	}
}
