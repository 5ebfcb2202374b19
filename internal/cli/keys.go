package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/server"
)

// keysFile is the file of keys in a server's data directory.
const keysFile = "keys.yaml"

// keyFiles are the flags that say which file of keys is meant.
type keyFiles struct {
	file    string
	dataDir string
}

func (k *keyFiles) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.file, "file", "", "`file` of keys (default $ISOLDE_KEYS_FILE, then keys.yaml in the data directory)")
	c.Flags().StringVar(&k.dataDir, "data-dir", "", "data directory, a `folder`, of the server (default /var/lib/isolde for root, ~/.local/share/isolde for others)")
}

// path is the file that is meant.
func (k *keyFiles) path(getenv func(string) string) string {
	return cmp.Or(k.file, getenv("ISOLDE_KEYS_FILE"), filepath.Join(cmp.Or(k.dataDir, server.DefaultDataDir()), keysFile))
}

func (a *app) keysCommand() *cobra.Command {
	c := parent(&cobra.Command{
		Use:     "keys",
		Aliases: []string{"key"},
		Short:   "Say who may call a server, and do what there",
	})
	c.AddCommand(a.keysAddCommand(), a.keysListCommand(), a.keysRemoveCommand())
	return c
}

// keyView is a key in JSON answers. Secret is there once, when it was made.
type keyView struct {
	ID       string       `json:"accessKeyId"`
	Secret   string       `json:"secretAccessKey,omitempty"`
	Name     string       `json:"name"`
	Rights   []auth.Right `json:"rights"`
	Runtimes []string     `json:"agentRuntimes,omitempty"`
}

func viewKey(k *auth.Key) keyView {
	return keyView{ID: k.ID, Name: k.Name, Rights: k.Rights, Runtimes: k.Runtimes}
}

func (a *app) keysAddCommand() *cobra.Command {
	var files keyFiles
	var rights, runtimes []string
	var shell string
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a key and print what its holder sets",
		Long: `Make a key and print what its holder sets, as lines for a shell.

The key goes into a file that the server reads: one that runs with keys knows it a
second later; one that does not ask for keys yet has to be started anew. Two keys of one
name are one caller, so that one can replace the other.

The rights are invoke (call agents and stop sessions), invoke-for-user (say in a
header which user a call is for), command (commands and shells in sessions), control
(the AgentCore control plane, S3 and IAM) and operator (this command line and the console).
None of them holds another.`,
		Example: `  isolde keys add ann --rights invoke,command,control,operator
  isolde keys add web --rights invoke,invoke-for-user --runtimes 'support_*'`,
		Args: arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			format, err := a.exportFormat(shell)
			if err != nil {
				return err
			}
			var may []auth.Right
			for _, r := range rights {
				right := auth.Right(strings.TrimSpace(r))
				if !slices.Contains(auth.AllRights, right) {
					return isolde.Errorf(isolde.CodeInvalid, "--rights: %q is no right", right).WithHint("there are: invoke, invoke-for-user, command, control, operator")
				}
				may = append(may, right)
			}
			key, err := auth.NewKey(args[0], may...)
			if err != nil {
				return err
			}
			key.Runtimes = runtimes
			file := files.path(a.getenv)
			if files.file == "" { // the data directory may be the first thing of a server
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					return fmt.Errorf("create data directory: %w", err)
				}
			}
			if err := auth.AddToFile(file, key); err != nil {
				return err
			}
			if a.output == formatJSON {
				v := viewKey(key)
				v.Secret = string(key.Secret)
				return writeJSON(a.out, v)
			}
			fmt.Fprintf(a.out, format+format, "AWS_ACCESS_KEY_ID", key.ID, "AWS_SECRET_ACCESS_KEY", string(key.Secret))
			a.err.printf("key %s is in %s; this is the only time its secret is printed", a.err.bold(key.Name), file)
			return nil
		},
	}
	files.flags(c)
	a.outputFlag(c)
	c.Flags().StringSliceVar(&rights, "rights", []string{"invoke"}, "`list` of what it allows: invoke, invoke-for-user, command, control, operator")
	c.Flags().StringSliceVar(&runtimes, "runtimes", nil, "`list` of the names of the agents it is for, or patterns such as 'support_*' (default: all)")
	c.Flags().StringVar(&shell, "shell", "", "`shell` to write for: bash, fish or powershell (default: yours)")
	return c
}

func (a *app) keysListCommand() *cobra.Command {
	var files keyFiles
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the keys of a file, without their secrets",
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			keys, err := auth.KeysInFile(files.path(a.getenv))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			all := struct {
				Keys []keyView `json:"keys"`
			}{[]keyView{}}
			for _, k := range keys {
				all.Keys = append(all.Keys, viewKey(k))
			}
			return a.answer(all, func(w io.Writer) {
				row(w, "NAME", "ACCESS KEY ID", "RIGHTS", "AGENTS")
				for _, k := range all.Keys {
					names := make([]string, len(k.Rights))
					for n, r := range k.Rights {
						names[n] = string(r)
					}
					row(w, k.Name, k.ID, strings.Join(names, ","), cmp.Or(strings.Join(k.Runtimes, ","), "all"))
				}
			})
		},
	}
	files.flags(c)
	a.outputFlag(c)
	return c
}

func (a *app) keysRemoveCommand() *cobra.Command {
	var files keyFiles
	c := &cobra.Command{
		Use:     "rm NAME|ID",
		Aliases: []string{"remove"},
		Short:   "Remove a key; a server that reads the file refuses it a second later",
		Args:    arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := files.path(a.getenv)
			key, err := auth.RemoveFromFile(file, args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return isolde.Errorf(isolde.CodeNotFound, "there are no keys in %s", file).WithHint("name another file with --file, or ISOLDE_KEYS_FILE")
			}
			if err != nil {
				return err
			}
			a.err.printf("key %s (%s) is no longer in %s", key.Name, key.ID, file)
			return nil
		},
	}
	files.flags(c)
	return c
}
