package gvisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is the machine's control groups, version 1 or 2. A sandbox's
// group stands beside this process's (version 2, where a group that holds
// processes cannot be divided) or below it (version 1), which is where runsc
// looks for a relative path too. The groups are made here, before runsc runs,
// and removed here; runsc only joins them.
type hierarchy struct {
	root    string // where it is mounted
	unified bool
	parents map[string]string // version 1: controller → folder; version 2: "" → folder
}

// limits bound a group.
type limits struct {
	cpus   float64
	memory int64 // bytes
	tasks  int
}

// group is a sandbox's control group, one folder for each controller.
type group struct {
	Unified bool
	Dirs    map[string]string // as in hierarchy
}

const cgroupRoot = "/sys/fs/cgroup"

// needed are the controllers without which limits could not be kept.
var needed = []string{"cpu", "memory", "pids"}

// openHierarchy finds out which version the machine has and where this
// process is in it.
func openHierarchy() (hierarchy, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return hierarchy{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return hierarchy{}, fmt.Errorf("find control groups: %w", &os.PathError{Op: "statfs", Path: cgroupRoot, Err: err})
	}
	return newHierarchy(cgroupRoot, string(own), st.Type == unix.CGROUP2_SUPER_MAGIC)
}

// newHierarchy interprets /proc/self/cgroup, whose lines are
// "id:controllers:path".
func newHierarchy(root, own string, unified bool) (hierarchy, error) {
	h := hierarchy{root: root, unified: unified, parents: map[string]string{}}
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers, path := fields[1], fields[2]
		switch {
		case unified && controllers == "":
			h.parents[""] = filepath.Join(root, filepath.Dir(path))
		case !unified && controllers != "":
			for c := range strings.SplitSeq(controllers, ",") {
				c = strings.TrimPrefix(c, "name=")
				// Controllers that are mounted together are links to one
				// folder: cpu and cpuacct are cpu,cpuacct.
				if dir, err := filepath.EvalSymlinks(filepath.Join(root, c, path)); err == nil && isDir(dir) {
					h.parents[c] = dir
				}
			}
		}
	}
	if unified {
		return h, h.enable()
	}
	for _, c := range needed {
		if h.parents[c] == "" {
			return h, fmt.Errorf("the control group controller %q is not mounted under %s", c, root)
		}
	}
	return h, nil
}

// enable passes the needed controllers on to the children of the parent
// group, from the root down. Where they are already, nothing is written.
func (h hierarchy) enable() error {
	dir := h.parents[""]
	if dir == "" {
		return errors.New("this process is in no control group")
	}
	var missing []string
	have := strings.Fields(readString(filepath.Join(dir, "cgroup.subtree_control")))
	for _, c := range needed {
		if !slices.Contains(have, c) {
			missing = append(missing, "+"+c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	chain := []string{dir}
	for d := dir; d != h.root && strings.HasPrefix(d, h.root); {
		d = filepath.Dir(d)
		chain = append(chain, d)
	}
	for _, d := range slices.Backward(chain) {
		if err := write(filepath.Join(d, "cgroup.subtree_control"), strings.Join(missing, " ")); err != nil {
			return fmt.Errorf("pass control group controllers on: %w", err)
		}
	}
	return nil
}

// name is what a sandbox's group is called.
func groupName(id string) string { return "isolde-" + id }

// groupOf names the folders of a sandbox's group.
func (h hierarchy) groupOf(id string) group {
	g := group{Unified: h.unified, Dirs: map[string]string{}}
	for c, dir := range h.parents {
		g.Dirs[c] = filepath.Join(dir, groupName(id))
	}
	return g
}

// create makes the folders and sets the limits. When it fails nothing is
// left.
func (g group) create(l limits) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, g.remove())
		}
	}()
	made := map[string]bool{}
	for c, dir := range g.Dirs {
		if !made[dir] {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return fmt.Errorf("make control group: %w", err)
			}
			made[dir] = true
		}
		if c == "cpuset" {
			// A new group of this controller has no CPUs and no memory nodes.
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := write(filepath.Join(dir, f), readString(filepath.Join(filepath.Dir(dir), f))); err != nil {
					return fmt.Errorf("make control group: %w", err)
				}
			}
		}
	}
	for _, s := range g.settings(l) {
		err := write(s.file, s.value)
		if s.optional && errors.Is(err, fs.ErrNotExist) {
			continue // the kernel does not account swap
		}
		if err != nil {
			return fmt.Errorf("limit control group: %w", err)
		}
	}
	return nil
}

type setting struct {
	file, value string
	optional    bool
}

func (g group) settings(l limits) []setting {
	const period = 100_000 // µs
	quota := strconv.Itoa(max(1000, int(l.cpus*period)))
	memory, tasks := strconv.FormatInt(l.memory, 10), strconv.Itoa(l.tasks)
	if g.Unified {
		dir := g.Dirs[""]
		return []setting{
			{filepath.Join(dir, "cpu.max"), quota + " " + strconv.Itoa(period), false},
			{filepath.Join(dir, "memory.max"), memory, false},
			{filepath.Join(dir, "memory.swap.max"), "0", true},
			{filepath.Join(dir, "memory.oom.group"), "1", true},
			{filepath.Join(dir, "pids.max"), tasks, false},
		}
	}
	return []setting{
		{filepath.Join(g.Dirs["cpu"], "cpu.cfs_period_us"), strconv.Itoa(period), false},
		{filepath.Join(g.Dirs["cpu"], "cpu.cfs_quota_us"), quota, false},
		{filepath.Join(g.Dirs["memory"], "memory.limit_in_bytes"), memory, false},
		{filepath.Join(g.Dirs["memory"], "memory.memsw.limit_in_bytes"), memory, true},
		{filepath.Join(g.Dirs["pids"], "pids.max"), tasks, false},
	}
}

// pids lists the processes of the group. Version 1 has them once in each
// controller; a process on its way in may be in some only.
func (g group) pids() ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, dir := range g.Dirs {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return nil, err
		}
		for s := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(s); err == nil && pid > 0 && !seen[pid] {
				seen[pid] = true
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// kill ends all processes of the group and waits until they have. It leaves
// the exit status of one of them to the caller.
func (g group) kill(except int) error {
	if g.Unified {
		// One write reaches processes that are being forked, too.
		_ = write(filepath.Join(g.Dirs[""], "cgroup.kill"), "1")
	}
	return killAll(g.pids, except)
}

// remove takes the empty group away. Idempotent. The kernel may need a moment
// after the last process.
func (g group) remove() error {
	var errs []error
	for _, dir := range g.Dirs {
		var err error
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
				break
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, &os.PathError{Op: "remove control group", Path: dir, Err: err})
		}
	}
	return errors.Join(errs...)
}

// ranOutOfMemory says whether the kernel killed for the group's memory limit.
func (g group) ranOutOfMemory() bool {
	if g.Unified {
		return field(filepath.Join(g.Dirs[""], "memory.events"), "oom_kill") > 0
	}
	return field(filepath.Join(g.Dirs["memory"], "memory.oom_control"), "oom_kill") > 0
}

// ranOutOfTasks says whether the group's limit of tasks kept one from being.
func (g group) ranOutOfTasks() bool {
	dir := g.Dirs["pids"]
	if g.Unified {
		dir = g.Dirs[""]
	}
	return field(filepath.Join(dir, "pids.events"), "max") > 0
}

// usage measures the group. Memory is without file cache that the kernel
// could drop.
func (g group) usage() (cpu time.Duration, memory int64, tasks int) {
	if g.Unified {
		dir := g.Dirs[""]
		return time.Duration(field(filepath.Join(dir, "cpu.stat"), "usage_usec")) * time.Microsecond,
			number(filepath.Join(dir, "memory.current")) - field(filepath.Join(dir, "memory.stat"), "inactive_file"),
			int(number(filepath.Join(dir, "pids.current")))
	}
	return time.Duration(number(filepath.Join(g.Dirs["cpuacct"], "cpuacct.usage"))),
		number(filepath.Join(g.Dirs["memory"], "memory.usage_in_bytes")) - field(filepath.Join(g.Dirs["memory"], "memory.stat"), "total_inactive_file"),
		int(number(filepath.Join(g.Dirs["pids"], "pids.current")))
}

// field reads "name value" lines; 0 if there is none.
func field(path, name string) int64 {
	for line := range strings.Lines(readString(path)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}

func number(path string) int64 {
	n, _ := strconv.ParseInt(readString(path), 10, 64)
	return n
}

func readString(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// write does not create the file: what the kernel lacks is an error.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
