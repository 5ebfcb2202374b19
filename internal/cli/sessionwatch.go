package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// redrawEvery is how often the table of a watch is drawn anew.
const redrawEvery = 2 * time.Second

func (a *app) sessionWatchCommand() *cobra.Command {
	var f operator.SessionFilter
	c := &cobra.Command{
		Use:   "watch",
		Short: "Watch sessions come, change and go",
		Long: `Watch sessions come, change and go, until Ctrl-C.

On a terminal it is the table of isolde session ls, drawn anew every 2 s. Elsewhere it is a line for
each session that runs, and one whenever a session starts, changes or ends; -o json
prints an object for each.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if out, ok := a.out.(*os.File); ok && a.output == formatText && isTerminal(out) {
				return a.watchTable(c.Context(), client, f, out)
			}
			return a.watchLines(c.Context(), client, f)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	a.agentFlag(c, &f.Agent, "sessions of this `agent` only")
	c.Flags().StringVar(&f.User, "user", "", "sessions of this `user` only")
	return c
}

// watchTable shows as many sessions as the terminal has lines, the newest.
func (a *app) watchTable(ctx context.Context, client *operator.Client, f operator.SessionFilter, out *os.File) error {
	f.Stats = true
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		f.Limit = max(1, height-3)
		sessions, err := client.Sessions(ctx, f)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(drawn(client.URL, sessions, width)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drawn is what takes the place of a whole screen: each line cut to its width.
func drawn(url string, sessions []operator.Session, width int) []byte {
	var table bytes.Buffer
	fmt.Fprintf(&table, "%s  %s\n", time.Now().Format(time.TimeOnly), url)
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	sessionTable(w, sessions)
	w.Flush()
	out := bytes.NewBufferString("\x1b[H")
	for line := range bytes.Lines(table.Bytes()) {
		text := []rune(string(bytes.TrimRight(line, "\n")))
		fmt.Fprintf(out, "%s\x1b[K\r\n", string(text[:min(len(text), width)]))
	}
	out.WriteString("\x1b[J")
	return out.Bytes()
}

func (a *app) watchLines(ctx context.Context, client *operator.Client, f operator.SessionFilter) error {
	for e, err := range client.Watch(ctx, f) {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case e.Session == nil:
			continue
		}
		if err := a.watchLine(*e.Session); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) watchLine(s operator.Session) error {
	if a.output == formatJSON {
		return json.NewEncoder(a.out).Encode(viewSession(s))
	}
	_, err := io.WriteString(a.out, oneLine(watchText(s))+"\n")
	return err
}

// watchText says what is to know of a session that changed.
func watchText(s operator.Session) string {
	text := fmt.Sprintf("%s %s %s", s.AgentName, s.ID, s.State)
	if s.User != "" {
		text += " user " + s.User
	}
	if s.State == isolde.SessionStopped {
		return text + fmt.Sprintf(" ended by %s: it %s", s.EndCause, s.EndReason)
	}
	text += fmt.Sprintf(" requests %d", s.Requests)
	if s.InFlight > 0 {
		text += fmt.Sprintf(" in flight %d", s.InFlight)
	}
	if s.LastError != nil {
		text += fmt.Sprintf(" last error %s ago", since(s.LastError.Time))
	}
	return text
}
