package cli

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
)

// waitTimeout is how long agent wait waits unless told otherwise.
const waitTimeout = 10 * time.Minute

func (a *app) agentWaitCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "wait [AGENT]",
		Short: "Wait until an agent is READY, or gone if it is being deleted",
		Long: `Wait until nothing is under way with an agent, and show the progress of its build.

It is for what was begun through the AgentCore API, by an AWS SDK or a script:
isolde deploy waits by itself. If the newest version is READY then, the answer is that
of isolde deploy. If it could not be built, the error says why, and the exit code is 2.
An agent that is being deleted is waited for until it is gone.`,
		Example: `  isolde agent wait weather && isolde invoke weather 'hello'
  isolde agent wait weather --timeout 30s -o json`,
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			return a.waitForAgent(c.Context(), optional(args, 0, ""), timeout)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	c.Flags().DurationVar(&timeout, "timeout", waitTimeout, "give up after this `time`; 0: never")
	return c
}

func (a *app) waitForAgent(ctx context.Context, named string, timeout time.Duration) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	agent, err := a.findAgent(ctx, client, named)
	if err != nil {
		return err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout,
			isolde.Errorf(isolde.CodeUnavailable, "agent %s was %s and still is not done after %v", agent.Name, agent.Status, timeout).
				WithHint("give it longer with --timeout; it goes on in any case"))
		defer cancel()
	}
	p := newProgress(a.err)
	ready, err := client.Wait(ctx, string(agent.ID), p.step)
	if agent.Status == isolde.StatusDeleting && isolde.CodeOf(err) == isolde.CodeNotFound {
		return a.answerDeleted([]isolde.RuntimeID{agent.ID})
	}
	if err != nil {
		return err
	}
	p.finish()
	return a.answerDeployed(ready)
}

// answerDeleted prints the ids of agents that are gone.
func (a *app) answerDeleted(ids []isolde.RuntimeID) error {
	return a.answer(map[string]any{"deleted": ids}, func(w io.Writer) {
		for _, id := range ids {
			row(w, id)
		}
	})
}
