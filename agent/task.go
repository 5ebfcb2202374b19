package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Go runs f in the background of the call that ctx belongs to: the answer does
// not wait for it, and while it runs the agent is [HealthyBusy], so that its
// session is not taken for idle.
//
// The ctx of f keeps the values of ctx and ends when the agent stops, not with
// the call. An error of f, and a panic, go to the log under name. Without a
// call in ctx, as in a test, Go is a plain go statement.
func Go(ctx context.Context, name string, f func(ctx context.Context) error) {
	app := FromContext(ctx).app
	if app == nil {
		go func() { _ = f(ctx) }()
		return
	}
	done := Busy(ctx, name)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(app.context(), func() { cancel(context.Cause(app.context())) })
	go func() {
		defer done()
		defer cancel(nil)
		defer stop()
		if err := protected(ctx, f); err != nil {
			logError(ctx, app.logger(), "task failed", err, slog.String("task", name))
		}
	}()
}

// protected calls f; its panic is an error.
func protected(ctx context.Context, f func(context.Context) error) (err error) {
	defer recovered(&err)
	return f(ctx)
}

// Busy makes the agent [HealthyBusy] until done is called, for work that is
// not a function of its own. done may be called more than once; an agent that
// stops waits for it, as long as its Grace allows.
func Busy(ctx context.Context, name string) (done func()) {
	app := FromContext(ctx).app
	if app == nil {
		return func() {}
	}
	start := time.Now()
	app.tasks.add(1)
	app.logger().InfoContext(ctx, "task started", "task", name)
	return sync.OnceFunc(func() {
		app.logger().LogAttrs(ctx, slog.LevelInfo, "task ended", slog.String("task", name), since(start))
		app.tasks.add(-1)
	})
}
