package catalog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
)

// job names work in the background: what an agent runtime's status asks for,
// or the statuses of its endpoints, which do not wait for a build.
type job struct {
	runtime   isolde.RuntimeID
	endpoints bool
}

// jobs are the goroutines in the background, one for each job at most.
type jobs struct {
	mu      sync.Mutex
	running map[job]*run
	closed  bool // what is to be done is the next server's
	wg      sync.WaitGroup
}

type run struct {
	cancel context.CancelFunc
	again  bool // something changed since it looked
	done   chan struct{}
}

// retryAfter is how long work that failed for no fault of its caller's waits,
// such as for space on the disk.
const retryAfter = 5 * time.Second

// work does in the background what the statuses of a runtime, and of what
// belongs to it, ask for.
func (c *Catalog) work(id isolde.RuntimeID) {
	c.start(job{runtime: id}, c.reconcile)
	c.start(job{runtime: id, endpoints: true}, c.settleEndpoints)
}

// start runs do until it succeeds and nobody asked again; a run under way
// looks again.
func (c *Catalog) start(j job, do func(context.Context, isolde.RuntimeID) error) {
	c.jobs.mu.Lock()
	defer c.jobs.mu.Unlock()
	if r := c.jobs.running[j]; r != nil {
		r.again = true
		return
	}
	if c.jobs.closed {
		return
	}
	if c.jobs.running == nil {
		c.jobs.running = make(map[job]*run)
	}
	ctx, cancel := context.WithCancel(c.life)
	r := &run{cancel: cancel, done: make(chan struct{})}
	c.jobs.running[j] = r
	c.jobs.wg.Go(func() {
		defer close(r.done)
		defer cancel()
		for c.jobs.goesOn(ctx, j, r, c.attempt(ctx, j, do)) {
		}
	})
}

// attempt reports whether do succeeded; it waits a while if not.
func (c *Catalog) attempt(ctx context.Context, j job, do func(context.Context, isolde.RuntimeID) error) bool {
	err := do(ctx, j.runtime)
	if err == nil || ctx.Err() != nil {
		return true
	}
	c.cfg.Logger.Error("work on an agent runtime failed, will be tried again", "runtime", j.runtime, "after", retryAfter, "err", err)
	select {
	case <-time.After(retryAfter):
	case <-ctx.Done():
	}
	return false
}

// goesOn decides, together with the end of the run, whether it looks again.
func (x *jobs) goesOn(ctx context.Context, j job, r *run, succeeded bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ctx.Err() == nil && (r.again || !succeeded) {
		r.again = false
		return true
	}
	delete(x.running, j)
	return false
}

// cancel ends the work on a runtime, if there is any, and waits for its end.
func (x *jobs) cancel(ctx context.Context, id isolde.RuntimeID) error {
	x.mu.Lock()
	r := x.running[job{runtime: id}]
	x.mu.Unlock()
	if r == nil {
		return nil
	}
	r.cancel()
	return r.wait(ctx)
}

// await waits until nothing is done on a runtime.
func (x *jobs) await(ctx context.Context, id isolde.RuntimeID) error {
	x.mu.Lock()
	r := x.running[job{runtime: id}]
	x.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.wait(ctx)
}

func (r *run) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close waits for all runs, which were told to end.
func (x *jobs) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.wg.Wait()
}

// reconcile does what the status of a runtime asks for.
func (c *Catalog) reconcile(ctx context.Context, id isolde.RuntimeID) error {
	r, err := c.cfg.Store.Runtime(ctx, string(id))
	switch {
	case isolde.CodeOf(err) == isolde.CodeNotFound:
		return nil
	case err != nil:
		return err
	case r.Status == isolde.StatusDeleting:
		return c.remove(ctx, r)
	case r.Status.Final():
		return nil
	}
	v, err := c.cfg.Store.Version(ctx, id, r.Latest)
	if err != nil {
		return err
	}
	err = c.build(ctx, r, v)
	c.collectImages()
	return err
}

// remove ends a runtime's sessions, removes its files and then the runtime: in
// this order, so that it can be done again from the beginning.
func (c *Catalog) remove(ctx context.Context, r isolde.AgentRuntime) error {
	end := func() error {
		ofRuntime := func(s isolde.Session) bool { return s.Runtime == r.ID }
		if _, err := c.cfg.Sessions.StopAll(ctx, isolde.EndServer, "was ended with its agent runtime", ofRuntime); err != nil {
			return err
		}
		return errors.Join(c.cfg.Sessions.RemoveLogs(r.ID), c.cfg.Sessions.RemoveStorages(r.ID))
	}
	if err := end(); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return c.removalFailed(ctx, r, err)
	}
	if err := c.cfg.Store.DeleteRuntime(ctx, r.ID); err != nil && isolde.CodeOf(err) != isolde.CodeNotFound {
		return err
	}
	c.forget(r)
	c.progress.drop(r.ID)
	c.cfg.Logger.Info("agent runtime deleted", "runtime", r.ID)
	c.collectImages()
	return end() // a request that resolved the runtime just before may have started another session
}

func (c *Catalog) removalFailed(ctx context.Context, r isolde.AgentRuntime, err error) error {
	c.cfg.Logger.Error("delete agent runtime", "runtime", r.ID, "err", err)
	r.Status, r.FailureReason, r.UpdatedAt = isolde.StatusDeleteFailed, failureReason(err), time.Now()
	_, err = c.cfg.Store.SetRuntimeStatus(ctx, isolde.Once{}, r)
	return err
}

// settleEndpoints does what the statuses of a runtime's endpoints ask for.
func (c *Catalog) settleEndpoints(ctx context.Context, id isolde.RuntimeID) error {
	defer c.names.lockID(id)()
	r, err := c.cfg.Store.Runtime(ctx, string(id))
	if isolde.CodeOf(err) == isolde.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := c.cfg.Store.Endpoints(ctx, id)
	if err != nil {
		return err
	}
	settled := false
	for _, e := range all {
		if e.Status.Final() {
			continue
		}
		if err := c.settleEndpoint(ctx, e); err != nil {
			return err
		}
		c.forget(r)
		settled = true
	}
	if settled {
		c.collectImages()
	}
	return nil
}

func (c *Catalog) settleEndpoint(ctx context.Context, e isolde.Endpoint) error {
	if e.Status == isolde.StatusDeleting {
		return c.cfg.Store.DeleteEndpoint(ctx, e.Runtime, e.Name)
	}
	v, err := c.cfg.Store.Version(ctx, e.Runtime, e.Target)
	if err == nil && !v.Status.Final() {
		return nil // DEFAULT, whose status comes with the end of the build
	}
	if err == nil {
		_, err = c.cfg.Builder.Open(ctx, v.Image)
	}
	if err != nil {
		e.Status, e.FailureReason = failed(e.Status), failureReason(err)
	} else {
		e.Status, e.FailureReason, e.Version = isolde.StatusReady, "", e.Target
	}
	e.UpdatedAt = time.Now()
	_, err = c.cfg.Store.PutEndpoint(ctx, isolde.Once{}, e)
	return err
}

// failed is how what the status says ends when it fails.
func failed(s isolde.Status) isolde.Status {
	if s == isolde.StatusCreating {
		return isolde.StatusCreateFailed
	}
	return isolde.StatusUpdateFailed
}
