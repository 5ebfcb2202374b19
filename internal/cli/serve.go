package cli

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
)

func (a *app) serveCommand() *cobra.Command {
	var o serverOptions
	var limits limitOptions
	var who authOptions
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a server in the foreground",
		Long: `Run a server in the foreground: data plane, control plane and health on one port.

The first SIGINT or SIGTERM lets running requests end; the second kills. Sessions
outlive the server and are found again by the next one on the same data directory,
unless --stop-sessions is given. Under systemd, Type=notify is understood.

A server without keys trusts whoever reaches it, and listens on loopback only. With
keys (isolde keys add) everything but /healthz asks for one: SigV4 as the AWS SDKs sign,
and for the console and /metrics also as user name and password. It may listen for other
machines then.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.complete(a); err != nil {
				return err
			}
			var err error
			if o.config.Limits, err = limits.complete(); err != nil {
				return err
			}
			if err := who.complete(&o.config, a.getenv); err != nil {
				return err
			}
			if n := o.config.KeepVersions; n < 2 {
				return isolde.Errorf(isolde.CodeInvalid, "--keep-versions is %d; it must be at least 2", n)
			}
			return a.serve(c.Context(), o)
		},
	}
	o.flags(c, "info")
	f := c.Flags()
	who.flags(f)
	f.Lookup("data-dir").Usage += " (default /var/lib/isolde for root, ~/.local/share/isolde for others)"
	f.StringVar(&o.config.Region, "region", defaultRegion, "`region` in ARNs")
	f.StringVar(&o.config.Account, "account", "000000000000", "`account` in ARNs, 12 digits")
	f.BoolVar(&o.config.AllowScripts, "allow-scripts", false, "let builds run the code of packages on this machine (source distributions, npm scripts)")
	f.StringVar(&o.config.S3Endpoint, "s3-endpoint", "", "`URL` of the S3 store that code archives are fetched from, with the credentials of this environment (default: the server's own store)")
	f.StringVar(&o.config.S3Region, "s3-region", "", "`region` of --s3-endpoint (default: --region)")
	f.IntVar(&o.config.KeepVersions, "keep-versions", 10, "`number` of an agent's newest versions that are kept although nothing uses them, at least 2")
	f.BoolVar(&o.config.NoContentDefaults, "no-content-defaults", false, "pass Content-Type and Accept to agents as clients send them, without filling in what they leave open")
	f.BoolVar(&o.config.ExposeAgentErrors, "expose-agent-errors", false, "tell callers of the API what an agent says with an error; by default only isolde logs does")
	limits.flags(c)
	f.BoolVar(&o.config.StopSessions, "stop-sessions", false, "end all sessions when the server ends")
	return c
}

func (a *app) serve(ctx context.Context, o serverOptions) error {
	defer runtime.KeepAlive(a.ballast())
	s, err := startServer(ctx, o.config)
	if err != nil {
		return err
	}
	if o.logFormat == "json" { // every line of stderr is an object then
		o.config.Logger.Info("listening", "url", s.url, "driver", s.info.Driver, "isolation", s.info.Isolation, "data", s.info.DataDir)
	} else {
		a.announce(s)
	}
	notify(a.getenv, "READY=1\nSTATUS=listening on "+s.url)
	select {
	case err := <-s.ended:
		return err
	case <-ctx.Done():
	}
	notify(a.getenv, "STOPPING=1")
	if o.logFormat == "json" {
		o.config.Logger.Info("draining", "cause", context.Cause(ctx).Error())
	} else {
		a.err.printf("%v: waiting for running requests to end; once more kills", context.Cause(ctx))
	}
	return <-s.ended
}

// announce says where the server is and what to do next.
func (a *app) announce(s *runningServer) {
	a.err.printf("Isolde listens on %s", a.err.bold(s.url))
	a.err.printf("  driver  %s: %s", s.info.Driver, s.info.Isolation)
	a.err.printf("  data    %s", s.info.DataDir)
	if s.keys == nil {
		a.err.printf("  callers everyone on this machine")
	} else {
		a.err.printf("  callers who has one of %d keys", s.keys.Len())
		if s.keys.Len() == 0 {
			a.err.warn("there is no key yet, so nobody can call", "isolde keys add NAME --rights invoke,command,control,operator")
		}
	}
	a.warnIsolation(s)
	prefix := ""
	if s.url != defaultServer {
		prefix = fmt.Sprintf("  export ISOLDE_SERVER=%s\n", s.url)
	}
	a.err.printf("\nNext, in another terminal:\n%s  isolde deploy FOLDER\n  isolde invoke 'hello'\n  eval \"$(isolde env --aws)\"   # for boto3 and the AWS SDKs\n", prefix)
}

// warnIsolation is loud about a driver that isolates nothing.
func (a *app) warnIsolation(s *runningServer) {
	if s.info.Driver == "process" {
		a.err.warn("the process driver isolates nothing: agents run as programs of this machine, with your files in reach",
			"run only agents you trust; isolde doctor tells what the gvisor driver needs")
	}
}
