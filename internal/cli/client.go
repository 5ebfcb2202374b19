package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/server"
)

// serverFlag adds --server to a command that calls a server.
func (a *app) serverFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.server, "server", "", "`URL` of the server (default $ISOLDE_SERVER, then "+defaultServer+")")
}

const defaultServer = "http://" + server.DefaultListen

// serverURL is the server that client commands call, without a slash at its
// end.
func (a *app) serverURL() (string, error) {
	from, s := "--server", a.server
	if s == "" {
		from, s = "ISOLDE_SERVER", a.getenv("ISOLDE_SERVER")
	}
	if s == "" {
		return defaultServer, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, "'\"`$\\ ") {
		e := isolde.Errorf(isolde.CodeInvalid, "%s is %q, which is not the URL of a server", from, s)
		if !strings.Contains(s, "/") {
			return "", e.WithHint("did you mean http://%s?", s)
		}
		return "", e.WithHint("for example %s", defaultServer)
	}
	return strings.TrimRight(s, "/"), nil
}

// client calls the server's operator API.
func (a *app) client() (*operator.Client, error) {
	u, err := a.serverURL()
	if err != nil {
		return nil, err
	}
	return &operator.Client{URL: u, HTTP: a.http}, nil
}

// findAgent is the agent that a command means: the one it names, else that of
// the isolde.yaml in this folder, else the only one there is. Errors of a key
// without the right operator have CodeDenied.
func (a *app) findAgent(ctx context.Context, c *operator.Client, named string) (operator.Agent, error) {
	if named != "" {
		agent, err := c.Agent(ctx, named)
		if isolde.CodeOf(err) == isolde.CodeNotFound {
			return agent, isolde.Errorf(isolde.CodeNotFound, "there is no agent %q on %s", named, c.URL).WithHint("see: isolde agent ls").WithCause(err)
		}
		return agent, err
	}
	name, err := project.Name(".")
	if err != nil {
		return operator.Agent{}, err
	}
	if name != "" {
		agent, err := c.Agent(ctx, name)
		if isolde.CodeOf(err) == isolde.CodeNotFound {
			return agent, isolde.Errorf(isolde.CodeNotFound, "the agent of this folder, %q, is not on %s", name, c.URL).
				WithHint("deploy it with: isolde deploy; or name another with --agent").WithCause(err)
		}
		return agent, err
	}
	agents, err := c.Agents(ctx)
	switch {
	case err != nil:
		return operator.Agent{}, err
	case len(agents) == 0:
		return operator.Agent{}, isolde.Errorf(isolde.CodeNotFound, "there is no agent on %s", c.URL).WithHint("deploy one with: isolde deploy FOLDER")
	case len(agents) > 1:
		return operator.Agent{}, isolde.Errorf(isolde.CodeInvalid, "there are %d agents on %s; which one?", len(agents), c.URL).
			WithHint("name one with --agent: %s", strings.Join(names(agents), ", "))
	}
	return c.Agent(ctx, string(agents[0].ID)) // with what the list leaves out
}

func names(agents []operator.Agent) []string {
	var s []string
	for _, g := range agents {
		s = append(s, g.Name)
	}
	slices.Sort(s)
	return s
}

// findSession completes the beginning of a session id, which nobody types in
// full, when just one session begins with it.
func findSession(ctx context.Context, c *operator.Client, agent, id string) (isolde.SessionID, error) {
	if len(id) >= isolde.MinSessionID {
		return isolde.ParseSessionID(id)
	}
	sessions, err := c.Sessions(ctx, operator.SessionFilter{Agent: agent, Prefix: id, Ended: true, Limit: 100})
	if err != nil {
		return "", err
	}
	var found []isolde.SessionID
	for _, s := range sessions {
		if !slices.Contains(found, s.ID) {
			found = append(found, s.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", isolde.Errorf(isolde.CodeNotFound, "no session begins with %q", id).WithHint("see: isolde session ls --all")
	}
	return "", isolde.Errorf(isolde.CodeInvalid, "%d sessions begin with %q", len(found), id).WithHint("write more of the id")
}

// completeAgents offers the names of the server's agents to the shell.
func (a *app) completeAgents(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), time.Second)
	defer cancel()
	client, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	agents, err := client.Agents(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names(agents), cobra.ShellCompDirectiveNoFileComp
}

// agentFlag adds --agent.
func (a *app) agentFlag(c *cobra.Command, to *string, usage string) {
	c.Flags().StringVarP(to, "agent", "a", "", usage)
	_ = c.RegisterFlagCompletionFunc("agent", a.completeAgents) // fails only for a flag that is not there
}
