package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/gvisor"
	"github.com/isolde-run/isolde/sandbox/process"
)

// Fingerprints tells which drivers can run on this machine, the best first.
func Fingerprints(ctx context.Context, cfg Config) []sandbox.Fingerprint {
	return []sandbox.Fingerprint{gvisor.Fingerprint(ctx, cfg.Runsc), process.Fingerprint(ctx)}
}

// openDriver opens the driver that was asked for, or the best that can run.
func (s *Server) openDriver(ctx context.Context) (sandbox.Driver, error) {
	name := s.cfg.Driver
	if name == "" {
		var err error
		if name, err = s.chooseDriver(ctx); err != nil {
			return nil, err
		}
	}
	if name != gvisor.Name && name != process.Name {
		return nil, isolde.Errorf(isolde.CodeInvalid, "no driver %q", name).WithHint("there are: gvisor, process; isolde doctor tells which can run here")
	}
	instance, run, err := instance(s.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	router, err := s.openRouter(ctx, instance, run, name == gvisor.Name)
	if err != nil {
		return nil, err
	}
	// runsc keeps a socket in its state, whose path must be short whatever the
	// data directory's is; and like its sandboxes it means nothing after a reboot.
	state := filepath.Join(run, name)
	if name != gvisor.Name { // the others keep copies of code there, which want a disk
		state = filepath.Join(s.cfg.DataDir, "sandboxes", name)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("create state folder: %w", err)
	}
	s.onClose(func() error {
		_ = os.Remove(state) // stays if a sandbox does
		return nil
	})
	var driver sandbox.Driver
	switch name {
	case gvisor.Name:
		driver, err = gvisor.Open(ctx, gvisor.Config{StateDir: state, Runsc: s.cfg.Runsc, Router: router, Logger: s.cfg.Logger})
	case process.Name:
		driver, err = process.Open(ctx, process.Config{StateDir: state, Router: router, Logger: s.cfg.Logger})
	}
	if err != nil {
		return nil, err
	}
	s.onClose(driver.Close)
	return driver, nil
}

func (s *Server) chooseDriver(ctx context.Context) (string, error) {
	var why error
	for _, f := range Fingerprints(ctx, s.cfg) {
		if f.Available {
			if why != nil {
				s.cfg.Logger.Warn("a better driver cannot run here", "using", f.Driver, "err", why)
			}
			return f.Driver, nil
		}
		if why == nil {
			why = isolde.Errorf(isolde.CodeUnsupported, "driver %s cannot run here: %s", f.Driver, f.Reason).WithHint("%s", f.Hint)
		}
	}
	return "", why
}

// RunDir is where a server on the data directory keeps what means nothing
// after a reboot: its network namespaces, and gVisor's state.
func RunDir(dataDir string) (string, error) {
	_, dir, err := instance(dataDir)
	return dir, err
}

// instance names a server among those of the machine, by its data directory,
// and its RunDir.
func instance(dataDir string) (name, dir string, err error) {
	abs, err := filepath.Abs(dataDir)
	if err != nil {
		return "", "", fmt.Errorf("find data directory: %w", err)
	}
	sum := sha256.Sum256([]byte(abs))
	name = hex.EncodeToString(sum[:3])
	return name, filepath.Join("/run/isolde", name), nil
}

// openRouter opens the server's network for sandboxes. A driver that can do
// without gets none where the machine allows none.
func (s *Server) openRouter(ctx context.Context, name, run string, need bool) (*network.Router, error) {
	if err := network.Probe(); err != nil {
		if need {
			return nil, err
		}
		return nil, nil
	}
	router, err := network.Open(ctx, network.Config{Name: name, Dir: run, Logger: s.cfg.Logger})
	if err != nil {
		return nil, err
	}
	s.onClose(router.Close)
	return router, nil
}
