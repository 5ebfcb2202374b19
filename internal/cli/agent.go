package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) agentCommand() *cobra.Command {
	c := parent(&cobra.Command{
		Use:     "agent",
		Aliases: []string{"agents"},
		Short:   "See, wait for and delete agents",
	})
	c.AddCommand(a.agentListCommand(), a.agentGetCommand(), a.agentWaitCommand(), a.agentRemoveCommand())
	return c
}

// agentView is an agent in JSON answers. Numbers of versions are strings in
// them, as in the AgentCore API.
type agentView struct {
	operator.Agent
	Latest    string         `json:"agentRuntimeVersion"`
	Versions  []versionView  `json:"versions,omitempty"`
	Endpoints []endpointView `json:"endpoints,omitempty"`
}

type versionView struct {
	isolde.Version
	Number string `json:"agentRuntimeVersion"`
}

func viewAgent(g operator.Agent) agentView {
	v := agentView{Agent: g, Latest: g.Latest.String(), Endpoints: viewEndpoints(g.Endpoints)}
	for _, x := range g.Versions {
		v.Versions = append(v.Versions, versionView{x, x.Number.String()})
	}
	return v
}

func (a *app) agentListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the agents of the server",
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			agents, err := client.Agents(c.Context())
			if err != nil {
				return err
			}
			views := make([]agentView, 0, len(agents))
			for _, g := range agents {
				views = append(views, viewAgent(g))
			}
			return a.answer(map[string]any{"agents": views}, func(w io.Writer) {
				row(w, "NAME", "VERSION", "STATUS", "SESSIONS", "UPDATED", "ID")
				for _, g := range agents {
					row(w, g.Name, g.Latest, g.Status, g.Sessions, since(g.UpdatedAt), g.ID)
				}
			})
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	return c
}

func (a *app) agentGetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "get [AGENT]",
		Short:             "Show an agent with its versions and endpoints",
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			g, err := a.findAgent(c.Context(), client, optional(args, 0, ""))
			if err != nil {
				return err
			}
			return a.answer(viewAgent(g), func(w io.Writer) { printAgent(w, g) })
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	return c
}

func printAgent(w io.Writer, g operator.Agent) {
	row(w, "NAME", g.Name)
	row(w, "STATUS", g.Status)
	row(w, "ID", g.ID)
	row(w, "ARN", g.ARN)
	row(w, "SESSIONS", g.Sessions)
	row(w, "UPDATED", since(g.UpdatedAt)+" ago")
	fmt.Fprintln(w)
	row(w, "VERSION", "STATUS", "AGE", "ARTIFACT", "ENTRYPOINT", "REASON")
	for _, v := range g.Versions {
		artifact, entrypoint := artifactOf(v.Spec)
		row(w, v.Number, v.Status, since(v.CreatedAt), artifact, entrypoint, brief(v.FailureReason))
	}
	fmt.Fprintln(w)
	row(w, "ENDPOINT", "STATUS", "VERSION", "REASON")
	for _, e := range g.Endpoints {
		row(w, e.Name, e.Status, pointsAt(e), brief(e.FailureReason))
	}
	if g.FailureReason != "" {
		fmt.Fprintf(w, "\n%s:\n%s\n", g.Status, indent(harmless(g.FailureReason)))
	}
}

// artifactOf tells what a version was made of, and what starts it.
func artifactOf(s isolde.VersionSpec) (artifact, entrypoint string) {
	switch a := s.Artifact; {
	case a == nil:
		return "folder", strings.Join(s.Entrypoint, " ")
	case a.Container != nil:
		return a.Container.URI, ""
	case a.Code != nil && a.Code.Code.S3 != nil:
		return fmt.Sprintf("%s (%s)", a.Code.Code.S3, a.Code.Runtime), strings.Join(a.Code.Entrypoint, " ")
	}
	return "", ""
}

// brief is the beginning of a reason, which may be pages of an installer's
// output, for a table.
func brief(reason string) string {
	line := []rune(oneLine(reason))
	if len(line) > 72 {
		return string(line[:71]) + "…"
	}
	return string(line)
}

func (a *app) agentRemoveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "rm AGENT...",
		Aliases: []string{"delete"},
		Short:   "End the sessions of agents and delete them",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return isolde.Errorf(isolde.CodeInvalid, "%s needs the name of an agent", c.CommandPath()).WithHint("see: isolde agent ls")
			}
			return nil
		},
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			return a.removeAgents(c.Context(), args)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	return c
}

// removeAgents deletes one after the other and stops at the first that it
// cannot; what was deleted before is told in any case.
func (a *app) removeAgents(ctx context.Context, named []string) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	deleted := make([]isolde.RuntimeID, 0, len(named))
	for _, n := range named {
		var g operator.Agent
		if g, err = a.findAgent(ctx, client, n); err != nil {
			break
		}
		if err = client.DeleteAgent(ctx, string(g.ID)); err != nil {
			break
		}
		deleted = append(deleted, g.ID)
	}
	if aerr := a.answerDeleted(deleted); err == nil {
		err = aerr
	}
	return err
}
