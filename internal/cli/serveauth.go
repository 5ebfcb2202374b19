package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/server"
)

// authOptions are the flags of serve that say who may call.
type authOptions struct {
	auth, keys   string
	bind         string
	memory, disk string
	tlsCert      string
	tlsKey       string
}

func (o *authOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.auth, "auth", "", "`who` is let in: keys, or none for everyone on this machine (default: keys if there are any)")
	f.StringVar(&o.keys, "keys", "", "`file` of keys, as isolde keys add makes it (default $ISOLDE_KEYS_FILE, then keys.yaml in the data directory); ISOLDE_KEYS may hold more keys as text")
	f.StringVar(&o.bind, "bind-sessions", string(agentcore.BindJWT), "`whose` sessions nobody else may enter: jwt (callers with a token), all (with a key, too) or none")
	f.StringVar(&o.tlsCert, "tls-cert", "", "PEM `file` of the server's certificate chain; without, it speaks plain HTTP")
	f.StringVar(&o.tlsKey, "tls-key", "", "PEM `file` of the certificate's key")
	f.StringVar(&o.memory, "spool-memory", "256MiB", "memory, a `size`, for bodies that are held back until their signature is checked")
	f.StringVar(&o.disk, "spool-disk", "4GiB", "disk, a `size`, for those that find no memory; the rest is refused with ThrottlingException")
}

// complete puts the options into a configuration whose data directory is known.
func (o *authOptions) complete(cfg *server.Config, getenv func(string) string) (err error) {
	cfg.BindSessions = agentcore.Binding(o.bind)
	switch cfg.BindSessions {
	case agentcore.BindJWT, agentcore.BindAll, agentcore.BindNone:
	default:
		return isolde.Errorf(isolde.CodeInvalid, "--bind-sessions %q is not known", o.bind).WithHint("jwt, all or none")
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return isolde.Errorf(isolde.CodeInvalid, "--tls-cert and --tls-key go together; one of them is missing")
	}
	cfg.TLSCert, cfg.TLSKey = o.tlsCert, o.tlsKey
	if cfg.SpoolMemory, err = sizeFlag("--spool-memory", o.memory); err != nil {
		return err
	}
	if cfg.SpoolDisk, err = sizeFlag("--spool-disk", o.disk); err != nil {
		return err
	}
	cfg.Keys, err = o.openKeys(cmp.Or(cfg.DataDir, server.DefaultDataDir()), getenv, cfg.Logger)
	return err
}

func sizeFlag(name, text string) (int64, error) {
	n, ok := project.ParseSize(text)
	if !ok || n <= 0 {
		return 0, isolde.Errorf(isolde.CodeInvalid, "%s %q is not a size", name, text).WithHint("for example 256MiB")
	}
	return n, nil
}

// openKeys reads the keys that are to be asked for; nil for none.
func (o *authOptions) openKeys(dataDir string, getenv func(string) string, log *slog.Logger) (*auth.Keys, error) {
	file, text := cmp.Or(o.keys, getenv("ISOLDE_KEYS_FILE")), getenv("ISOLDE_KEYS")
	switch o.auth {
	case "none":
		if o.keys != "" {
			return nil, isolde.Errorf(isolde.CodeInvalid, "--auth none and --keys were both given").WithHint("leave one of them out")
		}
		return nil, nil
	case "", "keys":
	default:
		return nil, isolde.Errorf(isolde.CodeInvalid, "--auth %q is not known", o.auth).WithHint("keys or none")
	}
	if file == "" {
		standard := filepath.Join(dataDir, keysFile)
		_, err := os.Stat(standard)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for keys: %w", err) // they may be there: do not serve without
		}
		if err == nil {
			file = standard
		}
	}
	if file == "" && text == "" {
		if o.auth == "" {
			return nil, nil
		}
		return nil, isolde.Errorf(isolde.CodeNotConfigured, "there are no keys in %s", filepath.Join(dataDir, keysFile)).
			WithHint("make one with: isolde keys add NAME --rights invoke,command,control,operator; or name another file with --keys")
	}
	keys, err := auth.OpenKeys(file, text, log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, isolde.Errorf(isolde.CodeNotConfigured, "there is no file of keys at %s", file).WithHint("isolde keys add NAME --file %s makes it", file)
	}
	return keys, err
}
