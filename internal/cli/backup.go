package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func (a *app) backupCommand() *cobra.Command {
	var databaseOnly bool
	c := &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Copy what a server keeps into a tar file, while it serves",
		Long: `Copy what a server keeps into a tar file, while it serves: agents with their versions
and endpoints, their images, the objects of its S3 store. Sessions and their logs are
not in it.

FILE is isolde-backup-TIME.tar unless you name it, and - is stdout. A file that is there
is not overwritten, and half a file is not left. It holds the environment variables of
agents, and so their secrets: only you may read it, and it should stay so.

To restore it, unpack it and start a server on the folder:

    mkdir -m 700 NEW && tar xf FILE -C NEW && isolde serve --data-dir NEW`,
		Example: `  isolde backup
  isolde backup - | ssh backup.example 'cat > isolde.tar'`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			name := "isolde-backup-" + time.Now().UTC().Format("20060102-150405") + ".tar"
			return a.backup(c.Context(), optional(args, 0, name), databaseOnly)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	c.Flags().BoolVar(&databaseOnly, "database-only", false, "leave images and objects out; agents must then be deployed again")
	return c
}

func (a *app) backup(ctx context.Context, name string, databaseOnly bool) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	if name == "-" {
		if isTerminal(a.out) {
			return isolde.Errorf(isolde.CodeInvalid, "a backup is no text for a terminal").WithHint("name a file, or lead stdout somewhere else")
		}
		return client.Backup(ctx, a.out, databaseOnly)
	}
	bytes, err := a.backupFile(ctx, client, name, databaseOnly)
	if err != nil {
		return err
	}
	a.err.printf("%s; it holds the environment variables of agents, so keep it to yourself", size(bytes))
	return a.answer(map[string]any{"file": name, "bytes": bytes}, func(w io.Writer) { row(w, name) })
}

// backupFile writes a backup to a file that appears under its name once it is
// whole.
func (a *app) backupFile(ctx context.Context, client *operator.Client, name string, databaseOnly bool) (bytes int64, err error) {
	if err := notThere(name); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*") // with mode 0600
	if err != nil {
		return 0, isolde.Errorf(isolde.CodeInvalid, "cannot write %s: %w", name, err).WithHint("name a file in a folder that is there and yours")
	}
	defer os.Remove(f.Name()) // by then it has its own name, if it is whole
	defer f.Close()
	to := &countingWriter{t: a.err, Writer: f}
	buffered := bufio.NewWriterSize(to, 1<<20)
	if err := client.Backup(ctx, buffered, databaseOnly); err != nil {
		return 0, diskError(name, err)
	}
	if err := errors.Join(buffered.Flush(), f.Sync(), f.Close()); err != nil {
		return 0, diskError(name, err)
	}
	if err := notThere(name); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return 0, diskError(name, err)
	}
	return to.n, nil
}

// notThere is CodeConflict if the file is.
func notThere(name string) error {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return isolde.Errorf(isolde.CodeConflict, "%s is there already", name).WithHint("name another file")
	}
	return nil
}

// diskError says which file could not be written.
func diskError(name string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return isolde.Errorf(isolde.CodeInternal, "there is no space left for %s; nothing of it was kept", name).
			WithHint("name a file on another disk, or use - and lead stdout elsewhere").WithCause(err)
	case errors.As(err, new(*fs.PathError)):
		return fmt.Errorf("write %s: %w", name, err)
	}
	return err
}

// countingWriter shows on a terminal how much was written.
type countingWriter struct {
	io.Writer
	t *terminal
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	c.t.status("… " + size(c.n))
	return n, err
}
