package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// NewLogHandler returns a handler of log/slog that writes a line of JSON for
// each record, in the Python SDK's form, which CloudWatch's queries and
// isolde logs know:
//
//	{"timestamp":"2026-11-22T21:27:53.120Z","level":"INFO","message":"answered","requestId":"…","sessionId":"…"}
//
// The ids are those of the call that the record's context belongs to, so log
// with slog.InfoContext(ctx, …). opts may be nil; its ReplaceAttr sees the
// names of log/slog.
func NewLogHandler(w io.Writer, opts *slog.HandlerOptions) slog.Handler {
	var o slog.HandlerOptions
	if opts != nil {
		o = *opts
	}
	replace := o.ReplaceAttr
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if replace != nil {
			a = replace(groups, a)
		}
		if len(groups) == 0 {
			a = pythonAttr(a)
		}
		return a
	}
	return &logHandler{slog.NewJSONHandler(w, &o), nil}
}

// pythonAttr gives the attributes that every record has the names and forms
// of the Python SDK.
func pythonAttr(a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey:
		if t := a.Value; t.Kind() == slog.KindTime {
			return slog.String("timestamp", t.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
		}
	case slog.LevelKey:
		if l, ok := a.Value.Any().(slog.Level); ok && l == slog.LevelWarn {
			return slog.String(slog.LevelKey, "WARNING")
		}
	case slog.MessageKey:
		a.Key = "message"
	}
	return a
}

// logHandler adds the ids at the top of a line, even within a group: the
// groups and attributes of With are kept until a record comes.
type logHandler struct {
	top  slog.Handler
	with []func(slog.Handler) slog.Handler // WithAttrs and WithGroup, in order
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.top.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.add(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.add(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *logHandler) add(with func(slog.Handler) slog.Handler) slog.Handler {
	return &logHandler{h.top, append(slices.Clip(h.with), with)}
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	call := FromContext(ctx)
	var ids []slog.Attr
	if call.RequestID != "" {
		ids = append(ids, slog.String("requestId", call.RequestID))
	}
	if call.SessionID != "" {
		ids = append(ids, slog.String("sessionId", call.SessionID))
	}
	to := h.top
	if len(ids) > 0 {
		to = to.WithAttrs(ids)
	}
	for _, with := range h.with {
		to = with(to)
	}
	return to.Handle(ctx, r)
}

// logError logs an error as the Python SDK logs an exception.
func logError(ctx context.Context, log *slog.Logger, message string, err error, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("errorType", errorType(err)), slog.String("errorMessage", err.Error()))
	var coded *Error
	if errors.As(err, &coded) && coded.Err != nil {
		attrs = append(attrs, slog.String("cause", coded.Err.Error()))
	}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, slog.Any("stackTrace", strings.SplitAfter(strings.TrimSuffix(string(p.stack), "\n"), "\n")))
	}
	log.LogAttrs(ctx, slog.LevelError, message, attrs...) //nolint:sloglint // a constant of the callers
}

// since is a duration for the log, in seconds.
func since(start time.Time) slog.Attr {
	return slog.Float64("seconds", time.Since(start).Seconds())
}
