package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) logsCommand() *cobra.Command {
	var o operator.LogOptions
	var session string
	c := &cobra.Command{
		Use:   "logs [AGENT]",
		Short: "Print what agents wrote to stdout and stderr",
		Long: `Print what agents wrote to stdout and stderr.

Without AGENT it is the agent of the isolde.yaml in this folder, else all agents. Lines
begin with the session they came from, unless --session names it. -o json prints an
object for each line.`,
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			o.Agent = optional(args, 0, "")
			return a.logs(c.Context(), o, session)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until Ctrl-C")
	c.Flags().StringVar(&session, "session", "", "output of this `session` only; the beginning of an id is enough")
	c.Flags().IntVar(&o.Tail, "tail", 0, "`lines` from the end of each session's output, -1 for all (default 200)")
	return c
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
