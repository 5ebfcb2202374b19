package process

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/isolde-run/isolde/sandbox"
)

// Recover finds the sandboxes whose record names a process that still runs,
// and removes all other folders with what belongs to them.
func (d *Driver) Recover(ctx context.Context) ([]sandbox.Sandbox, error) {
	entries, err := os.ReadDir(d.cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	var found []sandbox.Sandbox
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return found, context.Cause(ctx)
		}
		if !e.IsDir() {
			continue
		}
		s := newInstance(d, sandbox.ID(e.Name()))
		err := s.find()
		if err == nil {
			err = d.adopt(s)
			found = append(found, s)
		} else {
			d.log.Info("removing a dead sandbox", "sandbox", e.Name(), "reason", err)
			err = s.takeAway(sandbox.ID(e.Name()))
			s.letGo()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("recover sandbox %s: %w", e.Name(), err))
		}
	}
	return found, errors.Join(errs...)
}

// find fills s from its folder. An error says why the sandbox is dead.
func (s *instance) find() (err error) {
	s.record = record{Env: []string{s.marker()}} // what killAll needs, should the record be missing
	r, err := readRecord(s.dir)
	if err != nil {
		return err
	}
	s.record = r
	if r.Boot != bootID() {
		return errors.New("the machine was started anew")
	}
	if r.Init.PID != 0 {
		if s.init, err = openHandle(r.Init); err != nil {
			return fmt.Errorf("its first process: %w", err)
		}
	}
	if s.agent, err = openHandle(r.Agent); err != nil {
		return fmt.Errorf("its agent: %w", err)
	}
	if s.driver.cfg.Router != nil {
		link, ok := s.driver.cfg.Router.Find(string(r.ID))
		if !ok {
			return errors.New("its network is gone")
		}
		s.link = link
	}
	return nil
}
