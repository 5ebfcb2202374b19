package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) devCommand() *cobra.Command {
	var o serverOptions
	var over deployOptions
	c := &cobra.Command{
		Use:   "dev [FOLDER]",
		Short: "Run one agent here, and again whenever you save",
		Long: `Run a server in the foreground with the agent of one folder, and deploy the folder
again whenever a file in it changes. The agent's output and errors appear in this
terminal, log objects of the official SDKs as text (isolde logs has them as they are).
Ctrl-C ends the agent, its sessions and the server.

After a change, idle sessions of the old version are stopped, so that the next call
with the same session id meets the new code; busy ones when they are done. If the new
version cannot be built, the old one stays. Packages may run code while they are
installed: it is your machine and your agent.

Without isolde.yaml, a project file of AWS's tools is read as isolde deploy does, and
without that the entry point is found as isolde init would.`,
		Example: `  isolde dev ./weather
  isolde invoke 'hello'        # in another terminal`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(a); err != nil {
				return err
			}
			return a.dev(c.Context(), optional(args, 0, "."), o, over)
		},
	}
	o.flags(c, "error")
	c.Flags().Lookup("data-dir").Usage += " (default: in your cache folder, one for each FOLDER)"
	over.flags(c)
	return c
}

func (a *app) dev(ctx context.Context, folder string, o serverOptions, over deployOptions) error {
	source, err := a.devSource(folder, over.name) // before anything is started
	if err != nil {
		return err
	}
	load := func() (operator.Deployment, error) {
		d, err := source.load()
		if err != nil {
			return d, err
		}
		return over.apply(d, a.getenv)
	}
	if _, err := load(); err != nil {
		return err
	}
	if o.config.DataDir == "" {
		if o.config.DataDir, err = devDataDir(a.getenv, folder); err != nil {
			return err
		}
	}
	o.config.StopSessions = true
	o.config.AllowScripts = true
	o.config.KeepVersions = 2 // each save makes one
	o.config.DrainTimeout = time.Second
	w, err := openWatcher(source.folder)
	if err != nil {
		return err
	}
	defer w.Close()
	s, err := startServer(ctx, o.config)
	if err != nil {
		return err
	}
	a.warnIsolation(s)
	loop := &devLoop{
		term:   a.err,
		client: &operator.Client{URL: s.url, HTTP: a.http},
		folder: source.folder,
		load:   load,
		ready:  func(d operator.Deployed) { a.announceDev(s, d) },
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		loop.run(running, w)
	}()
	select {
	case err = <-s.ended:
		stop()
		<-done
	case <-ctx.Done():
		a.err.printf("ending the sessions; once more kills")
		stop()
		<-done
		err = <-s.ended
	}
	return err
}

// devSource is where the agent of a folder is described and has its files.
type devSource struct {
	folder string // of the files
	load   func() (operator.Deployment, error)
}

// devSource looks for isolde.yaml, then for a project file of AWS's tools, then
// for an entry point, and says so if it is not the first.
func (a *app) devSource(folder, name string) (devSource, error) {
	d, found, err := project.LoadOrDetect(folder, a.getenv)
	if !found {
		foreign, ferr := project.LoadForeign(folder, name)
		if ferr != nil {
			return devSource{}, ferr
		}
		if foreign != nil {
			a.tellForeign(foreign)
			return devSource{foreign.Folder, func() (operator.Deployment, error) {
				f, err := project.LoadForeign(folder, name)
				if err == nil && f == nil { // it was taken away while this runs
					err = isolde.Errorf(isolde.CodeNotConfigured, "%s is gone", foreign.File).WithHint("end isolde dev and begin anew")
				}
				if err != nil {
					return operator.Deployment{}, err
				}
				return f.Deployment, nil
			}}, nil
		}
	}
	if err == nil && !found {
		a.err.printf("no %s in %s: running %s as %q", project.File, folder, d.Spec.Entrypoint[0], d.Name)
	}
	return devSource{folder, func() (operator.Deployment, error) {
		d, _, err := project.LoadOrDetect(folder, a.getenv)
		return d, err
	}}, err
}

// announceDev says how the agent is called.
func (a *app) announceDev(s *runningServer, d operator.Deployed) {
	isoldeCommand := "isolde"
	if s.url != defaultServer {
		isoldeCommand = "ISOLDE_SERVER=" + s.url + " isolde"
	}
	a.err.printf("\n%s is ready at %s (version %s, driver %s). Call it from another terminal:\n", a.err.bold(d.Name), s.url, d.Version, s.info.Driver)
	a.err.printf("  %s invoke 'hello'", isoldeCommand)
	a.err.printf("  eval \"$(%s env --aws)\"   # AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=%s", isoldeCommand, s.url)
	a.err.printf(`  python3 -c "import boto3; [print(l.decode()) for l in boto3.client('bedrock-agentcore').invoke_agent_runtime(`+
		`agentRuntimeArn='%s', payload=b'{\"prompt\": \"hello\"}')['response'].iter_lines()]"`, d.ARN)
	a.err.printf("\nWatching for changes. Ctrl-C ends everything.")
}

// devDataDir is a folder of the user's cache for each agent folder: two can
// run at the same time, and dependencies stay installed.
func devDataDir(getenv func(string) string, folder string) (string, error) {
	cache := userDir(getenv, "XDG_CACHE_HOME", ".cache")
	if cache == "" {
		return "", isolde.Errorf(isolde.CodeNotConfigured, "there is no cache folder: neither HOME nor XDG_CACHE_HOME is set").
			WithHint("name a folder with --data-dir")
	}
	abs, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", folder, err)
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(cache, "isolde", "dev", project.DefaultName(abs)+"-"+hex.EncodeToString(sum[:4])), nil
}
