package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/server"
)

// diagnosis is what isolde doctor finds.
type diagnosis struct {
	OK      bool                  `json:"ok"` // a driver can run here
	Build   build                 `json:"isolde"`
	Drivers []sandbox.Fingerprint `json:"drivers"`
	Tools   []check               `json:"tools"`
	Checks  []check               `json:"checks"`
}

// check is one thing that was looked at.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // what was found, or why not
	Hint   string `json:"hint,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	var o serverOptions
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what can run on this machine, and what is missing",
		Long: `Tell what can run on this machine, and what is missing.

It looks at the drivers, the tools that build agents, the data directory and the
server. Nothing is changed, and no server is needed. The exit code is 9 if no driver
can run here.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.doctor(c.Context(), o)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	c.Flags().StringVar(&o.config.Runsc, "runsc", "", "`path` of runsc (default: beside isolde, then in PATH)")
	c.Flags().StringVar(&o.config.DataDir, "data-dir", "", "data directory (`folder`) to look at (default: that of isolde serve)")
	return c
}

func (a *app) doctor(ctx context.Context, o serverOptions) error {
	d := diagnosis{
		Build:   thisBuild(),
		Drivers: server.Fingerprints(ctx, o.config),
		Tools:   findTools(ctx),
	}
	d.OK = slices.ContainsFunc(d.Drivers, func(f sandbox.Fingerprint) bool { return f.Available })
	d.Checks = []check{checkDataDir(cmp.Or(o.config.DataDir, server.DefaultDataDir())), checkPort(ctx), a.checkServer(ctx)}
	if err := a.answer(d, func(w io.Writer) { printDiagnosis(w, d) }); err != nil {
		return err
	}
	if !d.OK {
		return isolde.Errorf(isolde.CodeUnsupported, "no driver can run on this machine").WithHint("the list above says what each one lacks")
	}
	return nil
}

func printDiagnosis(w io.Writer, d diagnosis) {
	fmt.Fprintf(w, "isolde %s %s\n\ndrivers, the best first\n", d.Build.Version, d.Build.Platform)
	for _, f := range d.Drivers {
		said := []string{f.Isolation}
		if f.Reason != "" {
			said = []string{f.Reason, "isolation: " + f.Isolation}
		}
		for _, detail := range f.Details {
			said = append(said, detail.Name+": "+detail.Value)
		}
		printCheck(w, check{f.Driver, f.Available, said[0], f.Hint}, said[1:]...)
	}
	fmt.Fprintln(w, "\ntools that build agents")
	for _, t := range d.Tools {
		printCheck(w, t)
	}
	fmt.Fprintln(w, "\nthis machine")
	for _, c := range d.Checks {
		printCheck(w, c)
	}
}

// printCheck prints what was found, what there is to say beside, and the way
// out.
func printCheck(w io.Writer, c check, beside ...string) {
	mark := "  ok "
	if !c.OK {
		mark = "  -- "
	}
	fmt.Fprintf(w, "%s%s\t%s\n", mark, c.Name, oneLine(c.Detail))
	if c.Hint != "" {
		beside = append([]string{"hint: " + c.Hint}, beside...)
	}
	for _, line := range beside {
		fmt.Fprintf(w, "     \t%s\n", oneLine(line))
	}
}

// tools are the programs that builds call, with how to ask for the version
// and what each is for.
var tools = []struct {
	name string
	ask  []string
	use  string
}{
	{"python3", []string{"--version"}, "Python agents"},
	{"uv", []string{"--version"}, "Python dependencies, fast"},
	{"pip3", []string{"--version"}, "Python dependencies, without uv"},
	{"node", []string{"--version"}, "Node agents"},
	{"npm", []string{"--version"}, "Node dependencies"},
	{"go", []string{"version"}, "Go agents"},
}

func findTools(ctx context.Context) []check {
	var found []check
	for _, t := range tools {
		c := check{Name: t.name}
		switch path, err := exec.LookPath(t.name); {
		case err != nil:
			c.Detail = "not found; for " + t.use
		default:
			c.OK, c.Detail = runTool(ctx, path, t.ask)
		}
		found = append(found, c)
	}
	return found
}

func runTool(ctx context.Context, path string, ask []string) (ok bool, detail string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, ask...).CombinedOutput()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		return false, fmt.Sprintf("%s does not run: %v %s", path, err, first)
	}
	return true, first + " (" + path + ")"
}

// checkDataDir tells whether a server could keep its data there. It makes a
// file in the nearest folder that exists, and takes it away.
func checkDataDir(dir string) check {
	c := check{Name: "data directory"}
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	f, err := os.CreateTemp(at, ".isolde-doctor-*")
	if err != nil {
		c.Detail, c.Hint = fmt.Sprintf("%s cannot be written: %v", dir, err), "isolde serve --data-dir FOLDER"
		return c
	}
	f.Close()
	os.Remove(f.Name())
	c.OK, c.Detail = true, dir
	if at != dir {
		c.Detail += " (will be made)"
	}
	return c
}

// checkPort tells whether a server could listen on the default port.
func checkPort(ctx context.Context) check {
	c := check{Name: "port"}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", server.DefaultListen)
	if err != nil {
		c.Detail, c.Hint = fmt.Sprintf("%s: %v", server.DefaultListen, errors.Unwrap(err)), "if that is not your server: isolde serve --listen 127.0.0.1:0 takes a free port"
		return c
	}
	l.Close()
	c.OK, c.Detail = true, server.DefaultListen+" is free"
	return c
}

// checkServer tells whether a server answers where client commands look for
// one.
func (a *app) checkServer(ctx context.Context) check {
	c := check{Name: "server"}
	client, err := a.client()
	if err != nil {
		c.Detail, c.Hint = describe(err)
		return c
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := client.Info(ctx)
	if err != nil {
		c.Detail, c.Hint = describe(err)
		return c
	}
	c.OK, c.Detail = true, fmt.Sprintf("%s at %s, driver %s", info.Version, client.URL, info.Driver)
	if info.Usage.MaxSessions > 0 { // an earlier server does not say
		c.Detail += ", " + usageText(info.Usage)
	}
	return c
}

// usageText tells what sessions take of a server's limits.
func usageText(u operator.Usage) string {
	const gib = 1 << 30
	text := fmt.Sprintf("%d of %d sessions; they may use %.4g GiB of memory", u.Sessions, u.MaxSessions, float64(u.MemoryPromised)/gib)
	if u.MemoryBudget > 0 {
		text += fmt.Sprintf(" of the %.4g GiB that may be promised", float64(u.MemoryBudget)/gib)
	}
	if u.MemoryTotal > 0 {
		text += fmt.Sprintf(", and the machine has %.4g GiB, %.4g GiB of it free", float64(u.MemoryTotal)/gib, float64(u.MemoryAvailable)/gib)
	}
	return text
}
