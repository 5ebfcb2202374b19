package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) sessionCopyCommand() *cobra.Command {
	var agent string
	c := &cobra.Command{
		Use:   "cp SESSION:PATH LOCAL | cp LOCAL SESSION:PATH",
		Short: "Copy files out of a session, or into it",
		Long: `Copy a file or a folder out of a session, or into it.

SESSION may be the beginning of an id; without it, as in ":/tmp/report.txt", it is the session
of your last call. It must run. A relative PATH begins in the agent's folder. What is
copied to a folder that is there goes into it. The image's own tar does the work.

What comes out of a session is what its agent says it is: nothing is written but below LOCAL,
links and devices are left out, and a folder that is there already is not merged with.
A copy is use of the session.`,
		Example: `  isolde session cp user-ann:/tmp/report.txt .
  isolde session cp ./data user-ann:/tmp/`,
		Args: arguments(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			from, fromSession := remotePlace(args[0])
			to, toSession := remotePlace(args[1])
			if fromSession == toSession {
				return isolde.Errorf(isolde.CodeInvalid, "one of %q and %q must be in a session, and the other here", args[0], args[1]).
					WithHint("for example: isolde session cp SESSION:/tmp/report.txt .")
			}
			there := from
			if toSession {
				there = to
			}
			if there.agent, there.id, err = a.meantSession(c.Context(), client, agent, there.args()); err != nil {
				return err
			}
			if fromSession {
				return a.copyOut(c.Context(), client, there, args[1])
			}
			return a.copyIn(c.Context(), client, args[0], there)
		},
	}
	a.serverFlag(c)
	a.agentFlag(c, &agent, "`agent` of the session, where the id is not unique")
	return c
}

// place is a file or folder in a session.
type place struct {
	named string // as the user names the session; empty: that of the last call
	path  string
	agent string
	id    isolde.SessionID
}

// remotePlace reads SESSION:PATH. A colon after a slash is one of a file here.
func remotePlace(s string) (p place, ok bool) {
	named, at, ok := strings.Cut(s, ":")
	return place{named: named, path: at}, ok && at != "" && !strings.Contains(named, "/")
}

func (p place) args() []string {
	if p.named == "" {
		return nil
	}
	return []string{p.named}
}

// copyOut copies into a new folder beside the target first, so that nothing of
// what is there is touched by what the session sends.
func (a *app) copyOut(ctx context.Context, client *operator.Client, from place, to string) error {
	top := path.Base(path.Clean(from.path))
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		to = filepath.Join(to, top)
	}
	if info, err := os.Lstat(to); err == nil && info.IsDir() {
		return isolde.Errorf(isolde.CodeConflict, "the folder %s is there already", to).WithHint("remove it, or name another")
	}
	dir, err := os.MkdirTemp(filepath.Dir(to), ".isolde-cp-*")
	if err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "cannot write to %s: %w", filepath.Dir(to), err)
	}
	defer os.RemoveAll(dir)
	archive, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := client.ReadFiles(ctx, from.agent, from.id, from.path, w)
		w.Close() // an archive from which something is missing is kept
		sent <- err
	}()
	got, err := untar(archive, dir, top)
	if err == nil {
		_, _ = io.CopyN(io.Discard, archive, 1<<20) // the padding after the archive's end
	}
	archive.Close()
	missing := <-sent
	switch {
	case errors.Is(missing, io.ErrClosedPipe): // untar had enough
		missing = nil
	case missing != nil && (err != nil || isolde.CodeOf(missing) != isolde.CodeInvalid):
		return missing // the cause of what untar met
	}
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, top), to); err != nil {
		if missing != nil {
			return missing
		}
		if errors.Is(err, os.ErrNotExist) {
			return isolde.Errorf(isolde.CodeInvalid, "%s is neither a file nor a folder", from.path).WithHint("name what it leads to")
		}
		return isolde.Errorf(isolde.CodeInvalid, "cannot write %s: %w", to, err)
	}
	if len(got.skipped) > 0 {
		more := ""
		if got.more > 0 {
			more = fmt.Sprintf(" and %d more", got.more)
		}
		a.err.warn("left out, being neither files nor folders: "+strings.Join(got.skipped, ", ")+more, "")
	}
	return missing
}

// copyIn copies to a folder that is there, or under the name that is not.
func (a *app) copyIn(ctx context.Context, client *operator.Client, from string, to place) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(from); err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "cannot read %s: %w", from, err)
	}
	dir, name := path.Clean(to.path), filepath.Base(from)
	if !strings.HasSuffix(to.path, "/") {
		isFolder := operator.Command{Args: []string{"test", "-d", to.path}, Timeout: isolde.Seconds(time.Minute / time.Second)}
		exit, err := client.Exec(ctx, to.agent, to.id, isFolder, io.Discard, io.Discard)
		if code := isolde.CodeOf(err); err != nil && code != isolde.CodeAgent && code != isolde.CodeInvalid { // an image without test
			return err
		}
		if err != nil || exit.Code != 0 {
			dir, name = path.Dir(to.path), path.Base(to.path)
		}
	}
	archive, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := tarTree(w, from, name)
		w.CloseWithError(err)
		packed <- err
	}()
	err = client.WriteFiles(ctx, to.agent, to.id, dir, archive)
	archive.Close() // ends the writer if the server did not read all
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return isolde.Errorf(isolde.CodeInvalid, "cannot copy %s: %w", from, perr)
	}
	return err
}
