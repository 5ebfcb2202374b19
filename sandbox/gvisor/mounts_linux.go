package gvisor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/volume"
)

// hostMount is a folder that a sandbox sees beside its image. It is mounted
// twice: by [withMounts] in a mount namespace, where no link and no other
// process of the host can get between, and from there by runsc in the sandbox.
type hostMount struct {
	path     string // in the sandbox
	at       string // in the mount namespace
	readOnly bool
	own      bool // nobody else changes what is in it
	mount    func(ctx context.Context) error
}

// mountsOf are the volumes and mounts of a sandbox with the folder.
func mountsOf(dir string, spec sandbox.Spec) []hostMount {
	var all []hostMount
	at := func() string { return filepath.Join(dir, mountsDir, strconv.Itoa(len(all))) }
	for _, v := range spec.Volumes {
		m := hostMount{path: v.Path, at: at(), own: true}
		m.mount = func(ctx context.Context) error {
			v := volume.Volume{File: v.File, Bytes: v.Bytes, UID: spec.UID, GID: spec.GID}
			return v.Mount(ctx, m.at, unix.MS_NOSYMFOLLOW)
		}
		all = append(all, m)
	}
	for _, b := range spec.Mounts {
		m := hostMount{path: b.Path, at: at(), readOnly: b.ReadOnly}
		m.mount = func(context.Context) error {
			flags := uintptr(unix.MS_NOSYMFOLLOW)
			if b.ReadOnly {
				flags |= unix.MS_RDONLY
			}
			return volume.Bind(b.Root, b.Folder, m.at, flags)
		}
		all = append(all, m)
	}
	return all
}

// withMounts runs f, which starts runsc, where the mounts are. They go with
// the sandbox's last process.
func withMounts(ctx context.Context, mounts []hostMount, f func() error) error {
	return volume.InNamespace(func() error {
		for _, m := range mounts {
			if err := os.MkdirAll(m.at, 0o700); err != nil {
				return fmt.Errorf("start sandbox: %w", err)
			}
			if err := m.mount(ctx); err != nil {
				return mountError(m, err)
			}
		}
		return f()
	})
}

// mountError names the folder that cannot be mounted.
func mountError(m hostMount, err error) error {
	if e := isolde.AsError(err); e.Code != isolde.CodeInternal || e.Hint != "" {
		return err
	}
	return fmt.Errorf("start sandbox: %s: %w", m.path, err)
}

// addTo adds the mount to what runsc reads.
func (m hostMount) addTo(config *specs.Spec) {
	options := []string{"rbind", "nosuid", "nodev", "rw"}
	if m.readOnly {
		options[3] = "ro"
	}
	config.Mounts = append(config.Mounts, specs.Mount{Destination: m.path, Type: "bind", Source: m.at, Options: options})
	if !m.own {
		// In a volume the sandbox may remember what is there (see runsc.args);
		// here it must look at every step of every path.
		hint := "dev.gvisor.spec.mount." + filepath.Base(m.at)
		config.Annotations[hint+".source"] = m.at
		config.Annotations[hint+".type"] = "bind"
		config.Annotations[hint+".share"] = "shared"
	}
}

// findGofer identifies the process that serves a sandbox's mounts, from what
// runsc has written about it. runsc starts one only if there are some.
func findGofer(dir string) identity {
	b, err := os.ReadFile(filepath.Join(dir, stateDir, containerID+"_sandbox:"+containerID+".state"))
	if err != nil {
		return identity{}
	}
	var state struct {
		PID int `json:"goferPid"`
	}
	if json.Unmarshal(b, &state) != nil || state.PID == 0 {
		return identity{}
	}
	gofer, err := identify(state.PID)
	if err != nil {
		return identity{}
	}
	return gofer
}
