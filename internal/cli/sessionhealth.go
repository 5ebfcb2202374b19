package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
)

func (a *app) sessionHealthCommand() *cobra.Command {
	var agent string
	c := &cobra.Command{
		Use:   "health [SESSION]",
		Short: "Ask the agent of a session whether it is healthy",
		Long: `Ask the agent of a session whether it is healthy, without using the session: its idle
timeout goes on.

SESSION may be the beginning of an id. Without it, it is the session of your last
call. The exit code is 0 if the agent is healthy, and 7 if it is not or does not run.`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			owner, id, err := a.meantSession(c.Context(), client, agent, args)
			if err != nil {
				return err
			}
			h, err := client.Health(c.Context(), owner, id)
			if err != nil {
				return err
			}
			err = a.answer(h, func(w io.Writer) {
				row(w, "SESSION", h.Session)
				row(w, "AGENT", h.AgentName)
				row(w, "STATE", h.State)
				row(w, "HEALTHY", map[bool]string{true: "yes", false: "no"}[h.Healthy])
				row(w, "ANSWER", h.Answer)
				row(w, "TOOK", fmt.Sprintf("%.1fms", h.Milliseconds))
			})
			if err == nil && !h.Healthy {
				return isolde.Errorf(isolde.CodeAgent, "the agent of session %s is not healthy: %s", id, h.Error).
					WithHint("isolde logs --session %s shows its output", shortSession(id))
			}
			return err
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.agentFlag(c, &agent, "`agent` of the session, where the id is not unique")
	return c
}
