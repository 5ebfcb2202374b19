package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// exited is the error of a command in a session that did not end with 0: the
// exit code is the command's own, and nothing is said of it.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func (a *app) sessionExecCommand() *cobra.Command {
	var agent string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "exec SESSION -- COMMAND [ARGUMENT...]",
		Short: "Run a command in a session, beside its agent",
		Long: `Run a command in a session, beside its agent: with the same files, environment
and limits.

SESSION may be the beginning of an id; it must run. There is no shell in between:
say bash -c '...' for one. What the command prints comes as it is printed, and its
exit code is that of isolde; 124 when it did not end in time and was killed. A
command is activity: its session does not end of idleness.`,
		Args: func(c *cobra.Command, args []string) error {
			if at := c.ArgsLenAtDash(); len(args) < 2 || at != 1 && at != -1 {
				return isolde.Errorf(isolde.CodeInvalid, "exec needs a session and a command").WithHint("for example: isolde session exec SESSION -- ls -l")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < time.Second || timeout > time.Hour {
				return isolde.Errorf(isolde.CodeInvalid, "--timeout %v is not in 1s to 1h", timeout)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			id, err := findSession(c.Context(), client, agent, args[0])
			if err != nil {
				return err
			}
			exit, err := client.Exec(c.Context(), agent, id, operator.Command{
				Args: args[1:], Timeout: isolde.Seconds((timeout + time.Second - 1) / time.Second),
			}, a.out, c.ErrOrStderr())
			switch {
			case err != nil:
				return err
			case exit.TimedOut:
				a.err.printf("the command did not end within %v and was killed", timeout)
				return exited(124) // as timeout(1) has it
			case exit.Code != 0:
				return exited(exit.Code)
			}
			return nil
		},
	}
	a.serverFlag(c)
	a.agentFlag(c, &agent, "`agent` of the session, where the id is not unique")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "kill it after this `duration`, at most 1h")
	return c
}
