package http1

import (
	"context"
	"sync"
	"time"
)

// Context is the context of one call: like context.WithCancelCause's, but made
// for calls that nothing happens to. A function for its end is kept in the
// Context itself, where the context package makes three objects and a map.
// [context.AfterFunc] and the context package's derived contexts work with it.
type Context struct {
	parent context.Context
	stop   func() bool // of the parent's end

	mu    sync.Mutex
	done  chan struct{} // made when it is asked for
	cause error
	after [2]after
	made  int // functions that after has seen
}

type after struct {
	n int // which one it is
	f func()
}

// NewContext makes a context that ends with its parent, or by Cancel, which
// must be called.
func NewContext(parent context.Context) *Context {
	c := &Context{parent: parent}
	c.stop = afterEnd(parent, func() { c.end(causeOf(parent)) })
	return c
}

// afterEnd is context.AfterFunc.
func afterEnd(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return c.AfterFunc(f)
	}
	if ctx.Done() == nil {
		return never
	}
	return context.AfterFunc(ctx, f)
}

func never() bool { return true }

// Cancel ends the context, if it did not end before, and lets go of its
// parent. A cause of nil is context.Canceled.
func (c *Context) Cancel(cause error) {
	c.stop()
	if cause == nil {
		cause = context.Canceled
	}
	c.end(cause)
}

func (c *Context) end(cause error) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.cause = cause
	all := c.after
	c.after = [2]after{}
	if c.done != nil {
		close(c.done)
	}
	c.mu.Unlock()
	for _, a := range all {
		if a.f != nil {
			go a.f()
		}
	}
}

// causeOf is context.Cause.
func causeOf(ctx context.Context) error {
	if c, ok := ctx.(*Context); ok {
		return c.Cause()
	}
	return context.Cause(ctx)
}

// Cause is why the context ended: nil if it did not.
func (c *Context) Cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// AfterFunc calls f on its own goroutine once the context ends. stop says
// whether it kept f from being called.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		go f()
		return func() bool { return false }
	}
	for i := range c.after {
		if slot := &c.after[i]; slot.f == nil {
			c.made++
			*slot = after{c.made, f}
			n := c.made
			c.mu.Unlock()
			return func() bool { return c.drop(slot, n) }
		}
	}
	c.mu.Unlock()
	return context.AfterFunc(struct{ context.Context }{c}, f) // which needs Done alone
}

// drop forgets a function; false if it was called, or forgotten before.
func (c *Context) drop(slot *after, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := slot.n == n && slot.f != nil
	if kept {
		slot.f = nil
	}
	return kept
}

// Deadline is the parent's.
func (c *Context) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done is closed when the context ends.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.cause != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err is context.Canceled once the context ended; Cause says why.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		return nil
	}
	return context.Canceled
}

// Value is the parent's.
func (c *Context) Value(key any) any { return c.parent.Value(key) }
