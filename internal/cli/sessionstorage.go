package cli

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) sessionStorageCommand() *cobra.Command {
	c := parent(&cobra.Command{
		Use:   "storage",
		Short: "See and remove what sessions keep when they stop",
	})
	c.AddCommand(a.storageListCommand(), a.storageRemoveCommand())
	return c
}

func (a *app) storageListCommand() *cobra.Command {
	var agent string
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the sessions that keep files, with what these take of the disk",
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			list, err := client.Storage(c.Context(), agent)
			if err != nil {
				return err
			}
			return a.answer(operator.StorageList{Storage: list}, func(w io.Writer) {
				row(w, "SESSION", "AGENT", "VERSION", "DISK", "AGE", "LAST USED", "IN USE")
				for _, s := range list {
					used := ""
					if s.Running {
						used = "yes"
					}
					row(w, s.Session, s.AgentName, s.Version, size(s.Bytes), since(s.CreatedAt), since(s.LastUsedAt), used)
				}
			})
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.agentFlag(c, &agent, "sessions of this `agent` only")
	return c
}

func (a *app) storageRemoveCommand() *cobra.Command {
	var agent string
	var all bool
	c := &cobra.Command{
		Use:     "rm [SESSION]",
		Aliases: []string{"delete"},
		Short:   "Remove what a session keeps, or what all keep that do not run",
		Long: `Remove what a session keeps, or what all sessions of the server, or of --agent, keep
that do not run. The next call with the session's id finds its folders empty.

SESSION may be the beginning of an id. A session that runs has to be stopped first. What
nobody removes goes by itself: 14 days after the last use, with a new version, with the
agent.`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if all != (len(args) == 0) {
				return isolde.Errorf(isolde.CodeInvalid, "name a session, or say --all").WithHint("see: isolde session storage ls")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			removed, err := removeStorage(c.Context(), client, agent, args)
			if err != nil {
				return err
			}
			if len(removed.Removed) == 0 {
				a.err.printf("no session that does not run keeps files")
			}
			return a.answer(removed, func(w io.Writer) {
				for _, id := range removed.Removed {
					row(w, id)
				}
			})
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.agentFlag(c, &agent, "sessions of this `agent` only")
	c.Flags().BoolVar(&all, "all", false, "what all sessions keep that do not run")
	return c
}

// removeStorage removes what the session keeps whose id begins with the
// argument, or all without one.
func removeStorage(ctx context.Context, c *operator.Client, agent string, args []string) (operator.RemovedStorage, error) {
	if len(args) == 0 {
		return c.RemoveStorages(ctx, agent)
	}
	list, err := c.Storage(ctx, agent)
	if err != nil {
		return operator.RemovedStorage{}, err
	}
	var found []isolde.SessionID
	for _, s := range list {
		if strings.HasPrefix(string(s.Session), args[0]) && !slices.Contains(found, s.Session) {
			found = append(found, s.Session)
		}
	}
	switch {
	case slices.Contains(found, isolde.SessionID(args[0])):
		found = []isolde.SessionID{isolde.SessionID(args[0])}
	case len(found) == 0:
		return operator.RemovedStorage{}, isolde.Errorf(isolde.CodeNotFound, "no session whose id begins with %q keeps files", args[0]).WithHint("see: isolde session storage ls")
	case len(found) > 1:
		return operator.RemovedStorage{}, isolde.Errorf(isolde.CodeInvalid, "the ids of %d sessions that keep files begin with %q", len(found), args[0]).WithHint("write more of the id")
	}
	return c.RemoveStorage(ctx, agent, found[0])
}
