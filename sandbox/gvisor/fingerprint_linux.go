package gvisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/volume"
)

// Fingerprint finds out whether the driver can run here, with the runsc at
// path or the one [FindRunsc] finds. It starts a sandbox that exits at once,
// in a router of its own, and takes about as long as a session's start.
func Fingerprint(ctx context.Context, path string) sandbox.Fingerprint {
	f := sandbox.Fingerprint{Driver: Name, Isolation: isolation}
	found, err := FindRunsc(path)
	if err == nil {
		f.Details = append(f.Details, sandbox.Detail{Name: "runsc", Value: strings.TrimSpace(found + " " + runscVersion(ctx, found))})
		var took time.Duration
		took, err = probe(ctx, found)
		if err == nil {
			f.Details = append(f.Details, sandbox.Detail{Name: "start of a sandbox", Value: took.Round(time.Millisecond).String()})
		}
	}
	if groups, gerr := openHierarchy(); gerr == nil {
		f.Details = append(f.Details, sandbox.Detail{Name: "control groups", Value: groups.String()})
	}
	f.Details = append(f.Details, sandbox.Detail{Name: "session storage", Value: volume.Describe()})
	if err != nil {
		e := isolde.AsError(err)
		f.Reason, f.Hint = e.Message, e.Hint
		if e.Code == isolde.CodeInternal {
			f.Reason, f.Hint = err.Error(), "the message is gVisor's own; it may help to run isolde doctor on the machine itself, outside of containers"
		}
		return f
	}
	f.Available = true
	return f
}

// probe runs a sandbox to its end.
func probe(ctx context.Context, runscPath string) (took time.Duration, err error) {
	if err := network.Probe(); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "isolde-probe-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	router, err := network.Open(ctx, network.Config{Name: "probe", Dir: filepath.Join(dir, "net")})
	if err != nil {
		return 0, err
	}
	defer router.Close()
	d, err := Open(ctx, Config{StateDir: filepath.Join(dir, "state"), Runsc: runscPath, Router: router})
	if err != nil {
		return 0, err
	}
	defer d.Close()
	image := filepath.Join(dir, "probe.erofs")
	if err := writeProbeImage(image); err != nil {
		return 0, fmt.Errorf("write probe image: %w", err)
	}
	start := time.Now()
	s, err := d.Start(ctx, sandbox.Spec{
		ID: sandbox.NewID(), Root: sandbox.Root{Image: image}, Command: []string{"/probe"}, Dir: "/",
		UID: 1000, GID: 1000, Network: isolde.Network{Egress: isolde.EgressNone}, LogFile: filepath.Join(dir, "log"),
	})
	if err != nil {
		return 0, err
	}
	took = time.Since(start)
	select {
	case <-s.Done():
	case <-ctx.Done():
	}
	exit := s.Exit()
	if err := s.Stop(ctx, 0); err != nil {
		return 0, err
	}
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case exit.Code != probeExit:
		return 0, fmt.Errorf("a program that exits with code %d %s in a sandbox", probeExit, exit)
	}
	return took, nil
}

// runscVersion is like "release-20260921.0", or empty.
func runscVersion(ctx context.Context, path string) string {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	version := strings.TrimPrefix(line, "runsc version ")
	if version == "VERSION_MISSING" { // built by go build
		return ""
	}
	return version
}

// String is for people: the version, and where sandboxes' groups are.
func (h hierarchy) String() string {
	if h.unified {
		return "version 2, in " + h.parents[""]
	}
	return "version 1, in " + h.parents["memory"]
}
