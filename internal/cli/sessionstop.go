package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) sessionStopCommand() *cobra.Command {
	var f operator.SessionFilter
	var all bool
	c := &cobra.Command{
		Use:   "stop [SESSION]",
		Short: "Stop a session, or all",
		Long: `Stop a session, or all, and wait until the sandboxes are gone.

SESSION may be the beginning of an id. Without it, it is the session of your last
call. --all stops all sessions of the server, or those of --agent, --user and --state.
A call to a stopped session gives it a new sandbox.`,
		Example: `  isolde session stop --all --agent weather --state idle`,
		Args:    arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return isolde.Errorf(isolde.CodeInvalid, "--all and a session were both given").WithHint("leave one of them out")
			}
			if !all && (f.User != "" || len(f.States) > 0) {
				return isolde.Errorf(isolde.CodeInvalid, "--user and --state select from --all").WithHint("add --all")
			}
			stopped, err := a.stopSessions(c.Context(), f, all, args)
			if err != nil {
				return err
			}
			if stopped.Stopped == nil {
				stopped.Stopped = []isolde.SessionID{}
			}
			if len(stopped.Stopped) == 0 {
				a.err.printf("no session was running")
			}
			return a.answer(stopped, func(w io.Writer) {
				for _, id := range stopped.Stopped {
					row(w, id)
				}
			})
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.sessionFilterFlags(c, &f)
	c.Flags().BoolVar(&all, "all", false, "all sessions, or those that the other flags select")
	return c
}

func (a *app) stopSessions(ctx context.Context, f operator.SessionFilter, all bool, args []string) (operator.StopResult, error) {
	client, err := a.client()
	if err != nil {
		return operator.StopResult{}, err
	}
	if all {
		return client.StopSessions(ctx, f)
	}
	owner, id, err := a.meantSession(ctx, client, f.Agent, args)
	if err != nil {
		return operator.StopResult{}, err
	}
	return client.StopSession(ctx, owner, id)
}
