package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
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
	c.AddCommand(a.sessionListCommand(), a.sessionGetCommand(), a.sessionWatchCommand(), a.sessionHealthCommand(),
		a.sessionExecCommand(), a.sessionShellCommand(), a.sessionCopyCommand(), a.sessionStopCommand(), a.sessionStorageCommand())
	return c
}

// sessionView is a session in JSON answers, with the version as a string.
type sessionView struct {
	operator.Session
	Version string `json:"agentRuntimeVersion"`
}

func viewSession(s operator.Session) sessionView { return sessionView{s, s.Version.String()} }

func (a *app) sessionListCommand() *cobra.Command {
	var f operator.SessionFilter
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the sessions that run",
		Long: `List the sessions that run, and with --all those that ended, for 14 days: with the
time until they end if nobody uses them and in any case, and what they use now.

CPU is the share of one CPU during the last 0.2 s.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			sessions, err := client.Sessions(c.Context(), f)
			if err != nil {
				return err
			}
			views := make([]sessionView, 0, len(sessions))
			for _, s := range sessions {
				views = append(views, viewSession(s))
			}
			return a.answer(map[string]any{"sessions": views}, func(w io.Writer) { sessionTable(w, sessions) })
		},
	}
	f.Stats = true
	a.serverFlag(c)
	a.outputFlag(c)
	a.sessionFilterFlags(c, &f)
	c.Flags().BoolVar(&f.Ended, "all", false, "ended sessions too")
	c.Flags().IntVar(&f.Limit, "limit", 0, "at most this `number` of sessions (default: all)")
	return c
}

// sessionFilterFlags adds what selects sessions.
func (a *app) sessionFilterFlags(c *cobra.Command, f *operator.SessionFilter) {
	a.agentFlag(c, &f.Agent, "sessions of this `agent` only")
	c.Flags().StringVar(&f.User, "user", "", "sessions of this `user` only")
	c.Flags().Var((*stateFlag)(&f.States), "state", "sessions in this `state` only: starting, active, idle, stopping or stopped; may be repeated")
}

// stateFlag makes a list of states a flag. Case makes no difference.
type stateFlag []isolde.SessionState

// Set, String and Type make it a flag.
func (f *stateFlag) Set(s string) error {
	for _, state := range []isolde.SessionState{
		isolde.SessionStarting, isolde.SessionActive, isolde.SessionIdle, isolde.SessionStopping, isolde.SessionStopped,
	} {
		if strings.EqualFold(s, string(state)) {
			*f = append(*f, state)
			return nil
		}
	}
	return isolde.Errorf(isolde.CodeInvalid, "it can be starting, active, idle, stopping or stopped")
}

func (f *stateFlag) String() string { return "" }

// Type is the word for a value.
func (f *stateFlag) Type() string { return "state" }

// sessionTable shows sessions to people.
func sessionTable(w io.Writer, sessions []operator.Session) {
	row(w, "SESSION", "AGENT", "VERSION", "STATE", "AGE", "LAST USED", "IDLE END", "MAX END", "REQUESTS", "CPU", "CPU TIME", "MEMORY", "USER", "LAST ERROR")
	for _, s := range sessions {
		row(w, s.ID, s.AgentName, s.Version, stateOf(s), since(s.StartedAt), since(s.LastActiveAt), until(s, s.IdleAt), until(s, s.ExpiresAt),
			s.Requests, usedShare(s), usedCPU(s), usedMemory(s), s.User, lastErrorAge(s))
	}
}

// stateOf is a session's state, with who or what ended it.
func stateOf(s operator.Session) string {
	switch {
	case s.EndCause != "":
		return fmt.Sprintf("%s (%s)", s.State, s.EndCause)
	case s.Busy:
		return fmt.Sprintf("%s (busy)", s.State)
	}
	return string(s.State)
}

// until is the time to a session's end at a time, empty if there is none.
func until(s operator.Session, at time.Time) string {
	if at.IsZero() || s.State == isolde.SessionStopped {
		return ""
	}
	return age(time.Until(at))
}

func lastErrorAge(s operator.Session) string {
	if s.LastError == nil {
		return ""
	}
	return since(s.LastError.Time) + " ago"
}

func usedShare(s operator.Session) string {
	if s.CPUPercent == nil {
		return ""
	}
	return fmt.Sprintf("%.0f%%", *s.CPUPercent)
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
				_, err = fmt.Fprintf(a.out, "\nthe agent's last error, %s ago:\n%s\n", since(s.LastError.Time), indent(harmless(s.LastError.Message)))
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
	row(w, "USER", s.User)
	row(w, "STATE", s.State)
	if s.EndReason != "" {
		row(w, "ENDED", since(s.EndedAt)+" ago")
		row(w, "ENDED BY", s.EndCause)
		row(w, "BECAUSE IT", s.EndReason)
	}
	row(w, "DRIVER", s.Driver)
	row(w, "SANDBOX", s.Sandbox)
	row(w, "AGE", since(s.StartedAt))
	row(w, "LAST USED", since(s.LastActiveAt))
	row(w, "IDLE END", until(s, s.IdleAt))
	row(w, "MAX END", until(s, s.ExpiresAt))
	row(w, "REQUESTS", s.Requests)
	row(w, "IN FLIGHT", s.InFlight)
	row(w, "CPU", usedShare(s))
	row(w, "CPU TIME", usedCPU(s))
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
