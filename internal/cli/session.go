package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) sessionCommand() *cobra.Command {
	c := parent(&cobra.Command{
		Use:     "session",
		Aliases: []string{"sessions"},
		Short:   "See and stop sessions, run commands in them",
	})
	c.AddCommand(a.sessionListCommand(), a.sessionGetCommand(), a.sessionExecCommand(), a.sessionStopCommand())
	return c
}

// sessionView is a session in JSON answers, with the version as a string.
type sessionView struct {
	operator.Session
	Version string `json:"agentRuntimeVersion"`
}

func viewSession(s operator.Session) sessionView { return sessionView{s, s.Version.String()} }

func (a *app) sessionListCommand() *cobra.Command {
	var agent string
	var all bool
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the sessions that run",
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			sessions, err := client.Sessions(c.Context(), operator.SessionFilter{Agent: agent, Ended: all, Stats: true})
			if err != nil {
				return err
			}
			views := make([]sessionView, 0, len(sessions))
			for _, s := range sessions {
				views = append(views, viewSession(s))
			}
			return a.answer(map[string]any{"sessions": views}, func(w io.Writer) {
				row(w, "SESSION", "AGENT", "VERSION", "STATE", "AGE", "LAST USED", "ENDS IN", "REQUESTS", "CPU", "MEMORY")
				for _, s := range sessions {
					row(w, s.ID, s.AgentName, s.Version, s.State, since(s.StartedAt), since(s.LastActiveAt), endsIn(s),
						s.Requests, usedCPU(s), usedMemory(s))
				}
			})
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.agentFlag(c, &agent, "sessions of this `agent` only")
	c.Flags().BoolVar(&all, "all", false, "ended sessions too")
	return c
}

// endsIn is the time until a session ends if nobody uses it.
func endsIn(s operator.Session) string {
	end := s.ExpiresAt
	if !s.IdleAt.IsZero() && s.IdleAt.Before(end) {
		end = s.IdleAt
	}
	if s.State == isolde.SessionStopped || end.IsZero() {
		return ""
	}
	return age(time.Until(end))
}

func usedCPU(s operator.Session) string {
	if s.CPUSeconds == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fs", s.CPUSeconds)
}

func usedMemory(s operator.Session) string {
	if s.MemoryBytes == 0 {
		return ""
	}
	return size(s.MemoryBytes)
}

func (a *app) sessionGetCommand() *cobra.Command {
	var agent string
	c := &cobra.Command{
		Use:   "get [SESSION]",
		Short: "Show a session with the last error of its agent",
		Long: `Show a session with the last error of its agent.

SESSION may be the beginning of an id. Without it, it is the session of your last
call.`,
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
			s, err := client.MeasureSession(c.Context(), owner, id)
			if err != nil {
				return err
			}
			err = a.answer(viewSession(s), func(w io.Writer) { printSession(w, s) })
			if err == nil && a.output == formatText && s.LastError != nil {
				_, err = fmt.Fprintf(a.out, "\nthe agent's last error, %s ago:\n%s\n", since(s.LastError.Time), indent(s.LastError.Message))
			}
			return err
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.agentFlag(c, &agent, "`agent` of the session, where the id is not unique")
	return c
}

func printSession(w io.Writer, s operator.Session) {
	row(w, "SESSION", s.ID)
	row(w, "AGENT", s.AgentName)
	row(w, "VERSION", s.Version)
	row(w, "STATE", s.State)
	if s.EndReason != "" {
		row(w, "ENDED", s.EndReason)
	}
	row(w, "DRIVER", s.Driver)
	row(w, "SANDBOX", s.Sandbox)
	row(w, "AGE", since(s.StartedAt))
	row(w, "LAST USED", since(s.LastActiveAt))
	row(w, "ENDS IN", endsIn(s))
	row(w, "REQUESTS", s.Requests)
	row(w, "IN FLIGHT", s.InFlight)
	row(w, "CPU", usedCPU(s))
	row(w, "MEMORY", usedMemory(s))
}

// meantSession is the session that an argument names, else that of the last
// call. agent is the agent's id or name, empty if it is not known.
func (a *app) meantSession(ctx context.Context, c *operator.Client, named string, args []string) (agent string, id isolde.SessionID, err error) {
	if len(args) > 0 {
		id, err := findSession(ctx, c, named, args[0])
		return named, id, err
	}
	g, err := a.findAgent(ctx, c, named)
	if err != nil {
		return "", "", err
	}
	if id = a.recent(c.URL, g.ID).session(); id == "" {
		return "", "", isolde.Errorf(isolde.CodeInvalid, "you have not called %s yet, so there is no last session", g.Name).WithHint("see: isolde session ls")
	}
	return string(g.ID), id, nil
}

func (a *app) sessionStopCommand() *cobra.Command {
	var agent string
	var all bool
	c := &cobra.Command{
		Use:   "stop [SESSION]",
		Short: "Stop a session, or all",
		Long: `Stop a session, or all, and wait until the sandboxes are gone.

SESSION may be the beginning of an id. Without it, it is the session of your last
call. --all stops all sessions of the server, or of --agent. A call to a stopped
session gives it a new sandbox.`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return isolde.Errorf(isolde.CodeInvalid, "--all and a session were both given").WithHint("leave one of them out")
			}
			stopped, err := a.stopSessions(c.Context(), agent, all, args)
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
	a.agentFlag(c, &agent, "sessions of this `agent` only")
	c.Flags().BoolVar(&all, "all", false, "all sessions")
	return c
}

func (a *app) stopSessions(ctx context.Context, agent string, all bool, args []string) (operator.StopResult, error) {
	client, err := a.client()
	if err != nil {
		return operator.StopResult{}, err
	}
	if all {
		return client.StopSessions(ctx, operator.SessionFilter{Agent: agent})
	}
	owner, id, err := a.meantSession(ctx, client, agent, args)
	if err != nil {
		return operator.StopResult{}, err
	}
	return client.StopSession(ctx, owner, id)
}
