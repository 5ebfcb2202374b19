package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
)

// The groups that help lists commands in.
const (
	groupServer  = "server"
	groupProject = "project"
	groupAgents  = "agents"
)

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "isolde",
		Short: "Run AI agents in sandboxed sessions behind the AgentCore Runtime API",
		Long: "Isolde runs AI agents on machines you own, each user session in a sandbox of its own,\n" +
			"behind the Amazon Bedrock AgentCore Runtime API.\n\n" +
			"Start with `isolde dev FOLDER`, or with `isolde serve` and `isolde deploy FOLDER`.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// pflag shows the parser's own words after the value: strconv.ParseInt: parsing "x": invalid syntax.
		message, _, _ := strings.Cut(err.Error(), ": strconv.")
		return isolde.Errorf(isolde.CodeInvalid, "%s", message).WithHint("see: %s --help", c.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: groupProject, Title: "Your agent:"},
		&cobra.Group{ID: groupAgents, Title: "What a server runs:"},
		&cobra.Group{ID: groupServer, Title: "The server and this machine:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupProject, a.initCommand(), a.devCommand(), a.deployCommand(), a.invokeCommand(), a.logsCommand())
	add(groupAgents, a.agentCommand(), a.endpointCommand(), a.sessionCommand())
	add(groupServer, a.serveCommand(), a.keysCommand(), a.doctorCommand(), a.envCommand(), a.backupCommand(), a.versionCommand())
	root.SetCompletionCommandGroupID(groupServer)
	root.SetHelpCommandGroupID(groupServer)
	parent(root)
	return root
}

// parent makes c print its help when it is called alone, and name the nearest
// commands when it is called with one it does not have.
func parent(c *cobra.Command) *cobra.Command {
	c.SuggestionsMinimumDistance = 2
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		err := isolde.Errorf(isolde.CodeInvalid, "there is no command %q", c.CommandPath()+" "+args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return err.WithHint("did you mean %s?", strings.Join(near, " or "))
		}
		return err.WithHint("see: %s --help", c.CommandPath())
	}
	return c
}

// arguments bounds the number of positional arguments.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if least <= len(args) && len(args) <= most {
			return nil
		}
		want := fmt.Sprintf("%d to %d arguments", least, most)
		switch {
		case least == most && least == 0:
			want = "no arguments"
		case least == most && least == 1:
			want = "1 argument"
		case least == most:
			want = fmt.Sprintf("%d arguments", least)
		case least == 0 && most == 1:
			want = "at most 1 argument"
		case least == 0:
			want = fmt.Sprintf("at most %d arguments", most)
		}
		return isolde.Errorf(isolde.CodeInvalid, "%s takes %s, not %d", c.CommandPath(), want, len(args)).
			WithHint("usage: %s", c.UseLine())
	}
}

// optional is the argument at i, or fallback.
func optional(args []string, i int, fallback string) string {
	if i < len(args) {
		return args[i]
	}
	return fallback
}
