package cli

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/server"
)

// serverOptions are the flags that serve and dev share.
type serverOptions struct {
	config    server.Config
	mounts    []string
	logFormat string
	logLevel  string
}

func (o *serverOptions) flags(c *cobra.Command, logLevel string) {
	f := c.Flags()
	f.StringVar(&o.config.Listen, "listen", server.DefaultListen, "`address` to listen on, without keys loopback only; port 0 takes a free one")
	f.StringVar(&o.config.DataDir, "data-dir", "", "`folder` for agents, images and sessions")
	f.StringVar(&o.config.Driver, "driver", "", "`name` of the driver: gvisor or process (default: the best that can run here)")
	f.StringVar(&o.config.Runsc, "runsc", "", "`path` of runsc (default: beside isolde, then in PATH)")
	f.DurationVar(&o.config.InitTimeout, "init-timeout", 120*time.Second, "`time` that a session's start may take, until its agent is healthy")
	f.StringArrayVar(&o.mounts, "allow-mount", nil, "`folder` of this machine that agents may mount, FOLDER:ro to read only (repeatable)")
	f.StringVar(&o.logFormat, "log-format", "text", "`form` of the log: text or json")
	f.StringVar(&o.logLevel, "log-level", logLevel, "`level` of the log: debug, info, warn or error")
	drivers := cobra.FixedCompletions([]string{"gvisor", "process"}, cobra.ShellCompDirectiveNoFileComp)
	_ = c.RegisterFlagCompletionFunc("driver", drivers) // fails only for a flag that is not there
}

// complete fills the configuration from the other options.
func (o *serverOptions) complete(a *app) (err error) {
	o.config.Version = thisBuild().Version
	if o.config.InitTimeout <= 0 {
		return isolde.Errorf(isolde.CodeInvalid, "--init-timeout %s must be above zero", o.config.InitTimeout).WithHint("for example 2m")
	}
	if o.config.DataDir != "" {
		if o.config.DataDir, err = filepath.Abs(o.config.DataDir); err != nil {
			return err
		}
	}
	for _, m := range o.mounts {
		folder, readOnly := strings.CutSuffix(m, ":ro")
		if folder, err = filepath.Abs(folder); err != nil {
			return err
		}
		o.config.AllowMounts = append(o.config.AllowMounts, catalog.AllowedFolder{Folder: folder, ReadOnly: readOnly})
	}
	o.config.Logger, err = o.logger(a.err)
	return err
}

func (o *serverOptions) logger(w *terminal) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "--log-level %q is not known", o.logLevel).WithHint("debug, info, warn or error")
	}
	options := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, isolde.Errorf(isolde.CodeInvalid, "--log-format %q is not known", o.logFormat).WithHint("text or json")
}

// runningServer is a server in this process that takes requests.
type runningServer struct {
	url   string
	info  operator.Info
	keys  *auth.Keys // that it asks for; nil: nobody is asked
	ended chan error // gets what Run returned, once
}

// startServer opens a server and runs it until ctx ends. Whoever gets it
// waits for ended.
func startServer(ctx context.Context, cfg server.Config) (*runningServer, error) {
	s := server.New(cfg)
	if err := s.Open(ctx); err != nil {
		return nil, err
	}
	r := &runningServer{url: s.URL(), info: s.Info(), keys: cfg.Keys, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	return r, nil
}
