package catalog

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
)

// AllowedFolder is a folder of the server's machine that versions may mount,
// whole or in part.
type AllowedFolder struct {
	Folder   string // absolute, clean
	ReadOnly bool   // whatever a version asks for
}

// unmountable is what a version wants to see below /mnt and cannot here.
func (c *Catalog) unmountable(spec isolde.VersionSpec) error {
	for _, f := range spec.Filesystems {
		if f.Session == nil {
			return isolde.Errorf(isolde.CodeUnsupported, "filesystemConfigurations can be sessionStorage only: this server is not in AWS, where access points and volumes are").
				WithHint("a server can allow folders of its own machine: isolde serve --allow-mount")
		}
		if c.cfg.Driver.Volumes != nil {
			return c.cfg.Driver.Volumes
		}
	}
	_, err := c.mounts(spec)
	return err
}

// volumes are the session storages of a version. Their files are the
// session's to name.
func (c *Catalog) volumes(spec isolde.VersionSpec) []sandbox.Volume {
	var out []sandbox.Volume
	for _, f := range spec.Filesystems {
		if f.Session != nil {
			out = append(out, sandbox.Volume{Path: path.Clean(f.Session.MountPath), Bytes: spec.Resources.WithDefaults().StorageBytes})
		}
	}
	return out
}

// mounts are the folders of this machine that a version mounts. What the
// server allows can be less than when the version was made.
func (c *Catalog) mounts(spec isolde.VersionSpec) ([]sandbox.Mount, error) {
	if len(spec.Mounts) > 0 && c.cfg.Driver.Mounts != nil {
		return nil, c.cfg.Driver.Mounts
	}
	var out []sandbox.Mount
	for _, m := range spec.Mounts {
		allowed, within, ok := c.allowed(m.Folder)
		if !ok {
			return nil, isolde.Errorf(isolde.CodeUnsupported, "the server does not allow agents to mount its folder %s", m.Folder).
				WithHint("whoever runs it can: isolde serve --allow-mount %s:ro", m.Folder)
		}
		if allowed.ReadOnly && !m.ReadOnly {
			return nil, isolde.Errorf(isolde.CodeUnsupported, "the server allows agents to read its folder %s, not to change it", m.Folder).
				WithHint("say readonly: true at the mount of %s", m.Path)
		}
		out = append(out, sandbox.Mount{Path: path.Clean(m.Path), Root: allowed.Folder, Folder: within, ReadOnly: m.ReadOnly})
	}
	return out, nil
}

// allowed finds the innermost allowed folder that holds one, and where in it
// that is.
func (c *Catalog) allowed(folder string) (a AllowedFolder, within string, ok bool) {
	for _, b := range c.cfg.Mounts {
		rel, err := filepath.Rel(b.Folder, folder)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") || ok && len(b.Folder) <= len(a.Folder) {
			continue
		}
		a, within, ok = b, rel, true
	}
	return a, within, ok
}

// checkRoot refuses an agent that is root in its sandbox a folder to write in:
// it would be root on the machine's files there, and could leave a setuid
// program behind.
func checkRoot(spec isolde.VersionSpec, img image.Image) error {
	for _, m := range spec.Mounts {
		if !m.ReadOnly && img.UID == 0 {
			return isolde.Errorf(isolde.CodeUnsupported, "the image runs its agent as root, and so may not change the folder %s of the server", m.Folder).
				WithHint("say readonly: true at the mount of %s, or USER 1000 in the image's Dockerfile", m.Path)
		}
	}
	return nil
}
