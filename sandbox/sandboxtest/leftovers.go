package sandboxtest

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde/sandbox"
)

// settle is how long leftovers may still be there: the kernel removes network
// namespaces, control groups and killed processes in its own time, and tests
// of other packages make such things meanwhile.
const settle = 15 * time.Second

// Leftovers compares what drivers make on this host before and after a test:
//
//   - processes that run from, or name, one of the folders
//   - mounts below them, and loop devices on files below them
//   - files and folders in them that name a sandbox id
//   - named network namespaces, and links in the host's namespace
//   - control groups that name a sandbox id or Isolde
//
// The last two kinds may be of tests in other packages, which run at the same
// time. Once [Leftovers.Own] was called, only those that name an own sandbox
// count.
type Leftovers struct {
	folders []string
	before  map[string]bool
	own     []string
}

// idRE is the form of sandbox.NewID.
var idRE = regexp.MustCompile(`s[0-9a-f]{10}`)

// Watch notes what is there now. The folders are those under which the driver
// keeps its state and from which the test's agents run; name no folder that
// anything else uses.
func Watch(folders ...string) *Leftovers {
	l := &Leftovers{}
	for _, f := range folders {
		l.folders = append(l.folders, filepath.Clean(f))
		if real, err := filepath.EvalSymlinks(f); err == nil && real != filepath.Clean(f) {
			l.folders = append(l.folders, real)
		}
	}
	l.before = l.find()
	return l
}

// Own says that a sandbox is of this test.
func (l *Leftovers) Own(id sandbox.ID) { l.own = append(l.own, string(id)) }

// Check fails the test for everything that was not there at Watch and does
// not go away.
func (l *Leftovers) Check(t testing.TB) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		left = l.New()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for _, what := range left {
		t.Errorf("left behind: %s", what)
	}
}

// New lists what was not there at Watch, at this moment.
func (l *Leftovers) New() []string {
	now := l.find()
	maps.DeleteFunc(now, func(what string, _ bool) bool { return l.before[what] })
	return slices.Sorted(maps.Keys(now))
}

func (l *Leftovers) find() map[string]bool {
	found := make(map[string]bool)
	l.findProcesses(found)
	l.findMounts(found)
	l.findLoops(found)
	l.findFiles(found)
	elsewhere := make(map[string]bool)
	findNames(elsewhere, "network namespace", "/run/netns")
	findLinks(elsewhere)
	findGroups(elsewhere)
	for what := range elsewhere {
		if len(l.own) == 0 || slices.ContainsFunc(l.own, func(id string) bool { return strings.Contains(what, id) }) {
			found[what] = true
		}
	}
	return found
}

func (l *Leftovers) mine(s string) bool {
	return slices.ContainsFunc(l.folders, func(folder string) bool { return strings.Contains(s, folder) })
}

// findProcesses looks at what links and files of /proc/<pid> tell of where a
// process came from. Zombies are found by their parent's waiting only, and so
// are reported as what they are: something that nobody reaps.
func (l *Leftovers) findProcesses(found map[string]bool) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		var about []string
		for _, link := range []string{"exe", "cwd", "root"} {
			target, _ := os.Readlink(filepath.Join(dir, link))
			about = append(about, target)
		}
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		about = append(about, string(command), string(environ))
		if l.mine(strings.Join(about, "\x00")) || isZombieOf(dir, os.Getpid()) {
			found[fmt.Sprintf("process %d: %s %s", pid, about[0], strings.ReplaceAll(string(command), "\x00", " "))] = true
		}
	}
}

// isZombieOf says whether a process is dead and a child of the parent, which
// has not waited for it.
func isZombieOf(dir string, parent int) bool {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return len(fields) > 1 && fields[0] == "Z" && fields[1] == strconv.Itoa(parent)
}

func (l *Leftovers) findMounts(found map[string]bool) {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && l.mine(fields[4]) {
			found["mount "+fields[4]] = true
		}
	}
}

func (l *Leftovers) findLoops(found map[string]bool) {
	devices, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, d := range devices {
		if file, err := os.ReadFile(d); err == nil && l.mine(string(file)) {
			found["loop device of "+strings.TrimSpace(string(file))] = true
		}
	}
}

func (l *Leftovers) findFiles(found map[string]bool) {
	for _, folder := range l.folders {
		_ = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err == nil && idRE.MatchString(e.Name()) {
				found["file "+path] = true
				if e.IsDir() {
					return fs.SkipDir
				}
			}
			return nil
		})
	}
}

func findNames(found map[string]bool, what, dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		found[what+" "+filepath.Join(dir, e.Name())] = true
	}
}

func findLinks(found map[string]bool) {
	links, _ := net.Interfaces()
	for _, link := range links {
		found["link "+link.Name] = true
	}
}

func findGroups(found map[string]bool) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (idRE.MatchString(e.Name()) || strings.Contains(e.Name(), "isolde")) {
			found["control group "+path] = true
		}
		return nil
	})
}
