package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) logsCommand() *cobra.Command {
	var o operator.LogOptions
	var session, since string
	c := &cobra.Command{
		Use:   "logs [AGENT]",
		Short: "Print what agents wrote to stdout and stderr",
		Long: `Print what agents wrote to stdout and stderr.

Without AGENT it is the agent of the isolde.yaml in this folder, else all agents. Lines
begin with the session they came from, unless --session names it. -o json prints an
object for each line.

--request prints what is of one invocation, whose id is in its answer's
X-Amzn-RequestId: the lines that name it, as those of AWS's SDKs do, and what was
written while it ran, to 2 s, unless it names another. Output has no times of its
own: --since is to 2 s as well.`,
		Example: `  isolde logs -f --since 10m
  isolde logs --request 0b5aef58-6b09-4f2c-8b0e-1a43f5b3c9a1`,
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			o.Agent = optional(args, 0, "")
			var err error
			if o.Since, err = sinceTime(since, time.Now()); err != nil {
				return err
			}
			if since != "" && c.Flags().Changed("tail") {
				return isolde.Errorf(isolde.CodeInvalid, "--since and --tail were both given").WithHint("leave one of them out")
			}
			return a.logs(c.Context(), o, session)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until Ctrl-C")
	c.Flags().StringVar(&session, "session", "", "output of this `session` only; the beginning of an id is enough")
	c.Flags().IntVar(&o.Tail, "tail", 0, "`lines` from the end of each session's output, -1 for all (default 200)")
	c.Flags().StringVar(&since, "since", "", "what was written since a `time`, such as 10m (ago) or 2026-11-22T18:30:00Z")
	c.Flags().StringVar(&o.Request, "request", "", "what is of the request with this `id`")
	return c
}

// sinceTime reads a time, or how long ago it was.
func sinceTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, isolde.Errorf(isolde.CodeInvalid, "--since %q is neither a duration nor a time", s).WithHint("for example 10m, 24h or 2026-11-22T18:30:00Z")
	}
	return t, nil
}

func (a *app) logs(ctx context.Context, o operator.LogOptions, session string) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	if o.Agent == "" {
		if o.Agent, err = project.Name("."); err != nil {
			return err
		}
	}
	if session != "" {
		if o.Session, err = findSession(ctx, client, o.Agent, session); err != nil {
			return err
		}
	}
	for line, err := range client.Logs(ctx, o) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if err := a.printLogLine(o, line); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printLogLine(o operator.LogOptions, l operator.LogLine) error {
	if a.output == formatJSON {
		e := json.NewEncoder(a.out)
		e.SetEscapeHTML(false)
		return e.Encode(l)
	}
	prefix := ""
	if o.Session == "" {
		prefix = shortSession(l.Session) + " | "
	}
	if o.Agent == "" {
		prefix = l.Agent + " " + prefix
	}
	_, err := fmt.Fprintln(a.out, prefix+l.Line)
	return err
}

// shortSession is the beginning of a session id, enough to tell a few apart.
func shortSession(id isolde.SessionID) string { return string(id[:min(8, len(id))]) }
