package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image/erofs"
)

// flatten makes the tree of the image's layers, whose files are open, with
// what every container has in its root whether its image does or not, and
// fills in how r starts.
func (p *pull) flatten(ctx context.Context, layers []*os.File, r *record) (*erofs.File, error) {
	f := newFlattener()
	entries := 0
	for i, l := range layers {
		f.layer = i + 1
		err := eachItem(l, func(it item) error {
			if entries++; entries+f.made > p.limits.entries {
				return fmt.Errorf("the image has more than %d files", p.limits.entries)
			}
			if err := f.add(l, &it); err != nil {
				return fmt.Errorf("entry %q: %w", brief(it.name), err)
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && isDiskError(err):
			return nil, err
		case err != nil:
			return nil, isolde.Errorf(isolde.CodeInvalid, "cannot unpack layer %d of %s: %w", i+1, p.name, err).
				WithHint("change the Dockerfile line that makes this layer")
		}
	}
	f.layer++
	if err := p.complete(f); err != nil {
		return nil, err
	}
	who, err := p.account(f)
	if err != nil {
		return nil, err
	}
	c := &p.config.Config
	r.Command, r.Env = slices.Concat(c.Entrypoint, c.Cmd), containerEnv(c.Env, who.home)
	r.Process = &process{Dir: workingDir(c), UID: who.uid, GID: who.gid}
	return f.root, nil
}

// complete adds what containers have and images may lack: the places of what
// is mounted into every sandbox, a folder for temporary files, the working
// directory and those of volumes.
func (p *pull) complete(f *flattener) error {
	for name, mode := range map[string]fs.FileMode{"proc": 0o755, "sys": 0o755, "dev": 0o755, "etc": 0o755, "tmp": 0o777 | fs.ModeSticky} {
		if n := f.root.Children[name]; n == nil || n.Mode.IsRegular() {
			d := f.newDir()
			d.Mode = fs.ModeDir | mode
			f.root.Children[name] = d
		}
	}
	c := &p.config.Config
	for _, dir := range append([]string{workingDir(c)}, slices.Sorted(maps.Keys(c.Volumes))...) {
		n, err := f.lookup(dir, false)
		if err != nil {
			n, err = f.walk(dir, true)
		}
		if err == nil && !n.Mode.IsDir() {
			err = errors.New("it is a file")
		}
		if err == nil && f.made > p.limits.entries {
			err = errSteps
		}
		if err != nil {
			return isolde.Errorf(isolde.CodeInvalid, "%s: %q cannot be a directory: %w", p.name, brief(dir), err).
				WithHint("change WORKDIR or VOLUME in its Dockerfile")
		}
	}
	return nil
}

func workingDir(c *v1.Config) string { return path.Join("/", c.WorkingDir) }

// checkStrings refuses what no process can be started with.
func checkStrings(name string, c *v1.Config) error {
	for _, text := range slices.Concat(c.Entrypoint, c.Cmd, c.Env, []string{c.WorkingDir, c.User}) {
		if strings.Contains(text, "\x00") {
			return isolde.Errorf(isolde.CodeInvalid, "%s has %q in its configuration, with a zero byte in it", name, brief(text)).
				WithHint("build the image again")
		}
	}
	for dir := range c.Volumes {
		if len(dir) > maxItemName || strings.Contains(dir, "\x00") {
			return isolde.Errorf(isolde.CodeInvalid, "%s has a volume %q, which is no path", name, brief(dir)).WithHint("change VOLUME in its Dockerfile")
		}
	}
	if len(c.WorkingDir) > maxItemName {
		return isolde.Errorf(isolde.CodeInvalid, "%s has a working directory of %d bytes", name, len(c.WorkingDir)).WithHint("change WORKDIR in its Dockerfile")
	}
	return nil
}

// containerEnv is an image's environment with what it may lack.
// DOCKER_CONTAINER makes the official SDKs listen on all addresses; see §3.6 of
// the service contract.
func containerEnv(env []string, home string) []string {
	var out []string
	for _, kv := range []string{"DOCKER_CONTAINER=1", "PATH=" + binPath, "HOME=" + home} {
		key, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") }) {
			out = append(out, kv)
		}
	}
	for _, kv := range env {
		if key, _, ok := strings.Cut(kv, "="); ok && key != "" {
			out = append(out, kv)
		}
	}
	return out
}
