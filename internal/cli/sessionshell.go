package cli

import (
	"context"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/shell"
)

// shellOptions are the flags of isolde session shell.
type shellOptions struct {
	agent      string
	session    string
	newSession bool
	shell      string
	qualifier  string
}

func (a *app) sessionShellCommand() *cobra.Command {
	var o shellOptions
	c := &cobra.Command{
		Use:   "shell [SESSION]",
		Short: "Open a shell in a session, on a terminal beside its agent",
		Long: `Open a shell in a session, on a terminal beside its agent: with the same files,
environment and limits.

SESSION may be the beginning of an id. Without it, it is the session of your last
call to the agent, or a new one; a session that does not run is started. The exit
code is the shell's. A connection that breaks is made again, and the shell goes on
where it was, as long as the server runs. Ctrl-] leaves the shell, which waits 15
minutes to be entered again with --shell. An open terminal is activity: its session
does not end of idleness. Commands may come from a pipe, too; the shell ends after
them.`,
		Example: `  isolde session shell
  isolde session shell --agent weather --new-session
  echo 'ls -l; exit 3' | isolde session shell`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			o.session = optional(args, 0, "")
			if o.session != "" && o.newSession {
				return isolde.Errorf(isolde.CodeInvalid, "a session and --new-session were both given").WithHint("leave one of them out")
			}
			return a.shell(c.Context(), o)
		},
	}
	a.serverFlag(c)
	a.agentFlag(c, &o.agent, "`agent` of the session")
	c.Flags().BoolVar(&o.newSession, "new-session", false, "begin a new session")
	c.Flags().StringVar(&o.shell, "shell", "", "enter the shell with this `id` again, or give a new one this id")
	c.Flags().StringVar(&o.qualifier, "endpoint", "", "`endpoint` whose version a new session runs (default DEFAULT)")
	return c
}

func (a *app) shell(ctx context.Context, o shellOptions) error {
	conn, err := a.shellConnection(ctx, o)
	if err != nil {
		return err
	}
	restore := func() {}
	if isTerminal(a.in) {
		// What is typed is the shell's, ^C as well.
		fd := int(a.in.(*os.File).Fd())
		before, err := term.MakeRaw(fd)
		if err != nil {
			return isolde.Errorf(isolde.CodeInternal, "prepare the terminal: %w", err)
		}
		restore = func() { _ = term.Restore(fd, before) }
		defer restore()
		sizes := make(chan os.Signal, 1)
		signal.Notify(sizes, syscall.SIGWINCH)
		defer signal.Stop(sizes)
		conn.resized, conn.interactive = sizes, true
		conn.size = func() (shell.Size, bool) {
			width, height, err := term.GetSize(fd)
			return shell.Size{Width: uint16(width), Height: uint16(height)}, err == nil && width > 0 && height > 0
		}
	}
	code, err := conn.run(ctx)
	restore()
	switch {
	case err != nil:
		return err
	case conn.left:
		a.err.printf("\nleft the shell; enter it again with: isolde session shell %s --agent %s --shell %s", conn.session, conn.agent, conn.id)
	case code != 0:
		return exited(code)
	}
	return nil
}

// shellConnection decides which shell of which session is meant.
func (a *app) shellConnection(ctx context.Context, o shellOptions) (*shellConnection, error) {
	conn := &shellConnection{http: a.http, in: a.in, out: a.out, info: a.err, id: shell.NewID()}
	var err error
	if o.shell != "" {
		if conn.id, err = shell.ParseID(o.shell); err != nil {
			return nil, err
		}
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	agent, err := a.shellAgent(ctx, client, o)
	if err != nil {
		return nil, err
	}
	memory := a.recent(client.URL, agent.ID)
	switch {
	case o.session != "":
		if conn.session, err = givenSession(ctx, client, agent, o.session); err != nil {
			return nil, err
		}
	case !o.newSession:
		conn.session = memory.session()
	}
	if conn.session == "" {
		conn.session = isolde.NewSessionID()
		a.err.printf("%s %s", a.err.dim("session"), conn.session)
	}
	a.remember(memory, client.URL, invocation{agent: agent, session: conn.session})
	conn.agent = agent.Name
	q := url.Values{"shellId": {string(conn.id)}}
	if o.qualifier != "" {
		q.Set("qualifier", o.qualifier)
	}
	conn.url = client.URL + "/runtimes/" + url.PathEscape(string(agent.ID)) + "/ws/shells?" + q.Encode()
	return conn, nil
}

// shellAgent is the agent that a command names, or whose session it names.
func (a *app) shellAgent(ctx context.Context, client *operator.Client, o shellOptions) (operator.Agent, error) {
	if o.agent == "" && o.session != "" {
		if id, err := findSession(ctx, client, "", o.session); err == nil {
			if s, err := client.Session(ctx, "", id); err == nil {
				return client.Agent(ctx, string(s.Runtime))
			}
		}
	}
	agent, err := a.findAgent(ctx, client, o.agent)
	if isolde.CodeOf(err) == isolde.CodeDenied && o.agent != "" {
		// Who may open shells need not be allowed to look around.
		agent, err = operator.Agent{}, nil
		agent.ID, agent.Name = isolde.RuntimeID(o.agent), o.agent
	}
	return agent, err
}

// keys reads what is typed until its end, or that of done.
func keys(in io.Reader, done <-chan struct{}) <-chan []byte {
	typed := make(chan []byte)
	go func() { // a Read of a terminal ends with the process
		defer close(typed)
		for {
			p := make([]byte, 16<<10)
			n, err := in.Read(p)
			if n > 0 {
				select {
				case typed <- p[:n]:
				case <-done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return typed
}
