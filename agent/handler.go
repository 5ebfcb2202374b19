package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// Handler answers an invocation, whose ctx is the request's. [Handle] and
// [HandleStream] make one that reads the payload; a Handler of your own reads
// it itself, from r.Body.
//
// What it returns is the answer:
//
//   - a [Stream] is sent as server-sent events;
//   - an [http.Handler] answers by itself, with any status, headers and form;
//   - anything else is sent as JSON.
//
// An [*Error] is answered with its status and any other error with 500, as
// {"error": "…"}. A panic is an error whose stack is logged.
type Handler func(ctx context.Context, r *http.Request) (any, error)

// Handle makes a [Handler] of a function from a payload to an answer. The
// payload is read by [Decode]; one that is no JSON, or no In, is answered with
// 400 and the reason. With Out = [Stream], or any, the answer can be a stream.
func Handle[In, Out any](f func(ctx context.Context, in In) (Out, error)) Handler {
	return func(ctx context.Context, r *http.Request) (any, error) {
		var in In
		files, err := decode(sized(r), &in, nil)
		if err != nil {
			return nil, err
		}
		files.closeAfter(ctx)
		return f(ctx, in)
	}
}

// HandleStream makes a [Handler] of a function from a payload to an iterator
// whose values are sent as they come; see [Seq]. When the caller goes away
// ctx ends and yield returns false.
func HandleStream[In, Out any](f func(ctx context.Context, in In) iter.Seq2[Out, error]) Handler {
	return Handle(func(ctx context.Context, in In) (Stream, error) {
		return Seq(f(ctx, in)), nil
	})
}

func (a *App) serveInvocation(w http.ResponseWriter, r *http.Request) {
	ctx, start := r.Context(), time.Now()
	if err := a.restored(ctx); err != nil {
		a.fail(w, r, fmt.Errorf("restore: %w", err))
		return
	}
	answer, err := a.invoke(ctx, r)
	if err == nil {
		err = a.answer(w, r, answer)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.logger().LogAttrs(ctx, slog.LevelInfo, "invocation ended", since(start))
}

func (a *App) invoke(ctx context.Context, r *http.Request) (answer any, err error) {
	defer recovered(&err)
	if a.Handler == nil {
		return nil, &Error{Status: http.StatusInternalServerError, Message: "No entrypoint defined"}
	}
	return a.Handler(ctx, r)
}

// answer sends what a handler returned. An error means that nothing was sent.
func (a *App) answer(w http.ResponseWriter, r *http.Request, answer any) error {
	ctx := r.Context()
	switch answer := answer.(type) {
	case Stream:
		out := &Events{w: w}
		err := protected(ctx, func(ctx context.Context) error { return answer(ctx, out) })
		untold := out.end(err)
		if err != nil && untold == nil && !errors.Is(err, errGone) {
			logError(ctx, a.logger(), "stream failed", err)
		}
		return untold
	case http.Handler:
		err := protected(ctx, func(context.Context) error { answer.ServeHTTP(w, r); return nil })
		if err != nil && !errors.Is(err, http.ErrAbortHandler) {
			logError(ctx, a.logger(), "answer failed", err)
		}
		if err != nil {
			panic(http.ErrAbortHandler) // a part may be sent: a cut connection says that it is not all
		}
		return nil
	}
	body, err := encode(answer)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

// fail logs an error and answers with it.
func (a *App) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *panicError
	if errors.As(err, &p) && errors.Is(p, http.ErrAbortHandler) {
		panic(p.value) // net/http's own way to cut a connection
	}
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		a.logger().InfoContext(r.Context(), "the caller went away")
		return
	}
	status, body := errorAnswer(err)
	logError(r.Context(), a.logger(), "invocation failed", err)
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // to a caller who went away
}
