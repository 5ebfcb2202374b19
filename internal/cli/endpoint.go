package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) endpointCommand() *cobra.Command {
	c := parent(&cobra.Command{
		Use:     "endpoint",
		Aliases: []string{"endpoints"},
		Short:   "Point names at versions of an agent",
	})
	c.AddCommand(a.endpointListCommand(), a.endpointSetCommand(), a.endpointRemoveCommand())
	return c
}

// endpointView is an endpoint in JSON answers, with versions as strings.
type endpointView struct {
	isolde.Endpoint
	Version string `json:"liveVersion,omitempty"`
	Target  string `json:"targetVersion,omitempty"`
}

func viewEndpoint(e isolde.Endpoint) endpointView {
	number := func(n isolde.VersionNumber) string {
		if n == 0 {
			return ""
		}
		return n.String()
	}
	return endpointView{e, number(e.Version), number(e.Target)}
}

func viewEndpoints(all []isolde.Endpoint) (views []endpointView) {
	for _, e := range all {
		views = append(views, viewEndpoint(e))
	}
	return views
}

// pointsAt is the version that an endpoint serves and, if it is another, the
// one that it is to serve.
func pointsAt(e isolde.Endpoint) string {
	switch {
	case e.Target == 0 || e.Target == e.Version:
		return e.Version.String()
	case e.Version == 0:
		return fmt.Sprintf("none → %d", e.Target)
	}
	return fmt.Sprintf("%d → %d", e.Version, e.Target)
}

func printEndpoints(w io.Writer, all []isolde.Endpoint) {
	row(w, "ENDPOINT", "STATUS", "VERSION", "UPDATED", "DESCRIPTION", "REASON")
	for _, e := range all {
		row(w, e.Name, e.Status, pointsAt(e), since(e.UpdatedAt), e.Description, brief(e.FailureReason))
	}
}

func (a *app) endpointListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "ls [AGENT]",
		Aliases:           []string{"list"},
		Short:             "List the endpoints of an agent",
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
			views := slices.Concat([]endpointView{}, viewEndpoints(g.Endpoints)) // not null
			return a.answer(map[string]any{"endpoints": views}, func(w io.Writer) { printEndpoints(w, g.Endpoints) })
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	return c
}

func (a *app) endpointSetCommand() *cobra.Command {
	var version int
	var description string
	c := &cobra.Command{
		Use:   "set AGENT NAME",
		Short: "Make an endpoint, or point it at another version",
		Long: `Make an endpoint, or change it: point it at another version or describe it. Wait
until that is done.

Calls say which endpoint they mean (isolde invoke --qualifier). Sessions that run keep
their version. DEFAULT follows the newest version by itself and cannot be pointed.`,
		Example: `  isolde endpoint set weather prod --version 3
  isolde invoke weather 'hello' --qualifier prod`,
		Args:              arguments(2, 2),
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			change := operator.EndpointChange{Version: isolde.VersionNumber(version)}
			if c.Flags().Changed("description") {
				change.Description = &description
			}
			if c.Flags().Changed("version") && version < 1 {
				return isolde.Errorf(isolde.CodeInvalid, "--version %d is not the number of a version", version).WithHint("isolde agent get %s lists them", args[0])
			}
			return a.setEndpoint(c.Context(), args[0], isolde.EndpointName(args[1]), change)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	c.Flags().IntVar(&version, "version", 0, "`number` of the version (default: as it is; the newest for a new endpoint)")
	c.Flags().StringVar(&description, "description", "", "what the endpoint is for, in a `sentence`")
	return c
}

func (a *app) setEndpoint(ctx context.Context, agent string, name isolde.EndpointName, change operator.EndpointChange) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	g, err := a.findAgent(ctx, client, agent)
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(g.Endpoints, func(e isolde.Endpoint) bool { return e.Name == name })
	if known && change == (operator.EndpointChange{}) {
		return isolde.Errorf(isolde.CodeInvalid, "there is nothing to set: endpoint %s of %s is there already", name, g.Name).
			WithHint("name a version with --version; isolde agent get %s lists them", g.Name)
	}
	e, err := client.PutEndpoint(ctx, string(g.ID), name, change)
	if err != nil {
		return err
	}
	if e.Status != isolde.StatusReady {
		return isolde.Errorf(isolde.CodeConflict, "endpoint %s of %s is %s: %s", name, g.Name, e.Status, e.FailureReason)
	}
	return a.answer(viewEndpoint(e), func(w io.Writer) { printEndpoints(w, []isolde.Endpoint{e}) })
}

func (a *app) endpointRemoveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "rm AGENT NAME",
		Aliases:           []string{"delete"},
		Short:             "Delete an endpoint",
		Args:              arguments(2, 2),
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			g, err := a.findAgent(c.Context(), client, args[0])
			if err != nil {
				return err
			}
			if err := client.DeleteEndpoint(c.Context(), string(g.ID), isolde.EndpointName(args[1])); err != nil {
				return err
			}
			return a.answer(map[string]any{"deleted": args[1:]}, func(w io.Writer) { row(w, args[1]) })
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	return c
}
