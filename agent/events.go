package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
)

// Stream is an answer that is made while it is sent: a [Handler] that returns
// one answers with server-sent events. [Seq] makes one of an iterator.
//
// An error that comes before the first event is answered as if there had been
// no stream; a later one becomes the last event:
//
//	data: {"error": "boom", "error_type": "Error", "message": "An error occurred during streaming"}
type Stream func(ctx context.Context, out *Events) error

// Seq streams what an iterator yields. The answer has begun when the iterator
// does, so an error is always the last event, as in the Python SDK.
func Seq[T any](seq iter.Seq2[T, error]) Stream {
	return func(_ context.Context, out *Events) error {
		if err := out.begin(); err != nil {
			return err
		}
		for v, err := range seq {
			if err != nil {
				return err
			}
			if err := out.Send(v); err != nil {
				return err
			}
		}
		return nil
	}
}

// Events is a stream of server-sent events under way. It is safe for
// concurrent use, and ends with its [Stream].
type Events struct {
	w http.ResponseWriter

	mu    sync.Mutex
	begun bool
	ended bool
	err   error // of the connection; nothing can be sent after it
}

// errGone is what a Stream hears whose caller went away.
var errGone = errors.New("the caller is gone")

// Send sends one event, v as JSON after "data: ", at once. Its error is that v
// has no JSON, after which other events can be sent, or that the caller is gone.
func (e *Events) Send(v any) error {
	data, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	event := append(append(make([]byte, 0, len(data)+8), "data: "...), data...)
	return e.write(append(event, "\n\n"...))
}

// begin sends the status and the headers.
func (e *Events) begin() error { return e.write(nil) }

func (e *Events) write(event []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.err != nil:
		return e.err
	case e.ended:
		return errors.New("send event: the stream has ended")
	case !e.begun:
		e.begun = true
		e.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		e.w.WriteHeader(http.StatusOK)
	}
	_, err := e.w.Write(event)
	if err == nil {
		err = http.NewResponseController(e.w).Flush()
	}
	if err != nil {
		e.err = fmt.Errorf("%w: %w", errGone, err)
	}
	return e.err
}

// end is called when the Stream returned, with its error. It returns an error
// that the caller was not told of as nothing has been sent yet.
func (e *Events) end(err error) (untold error) {
	switch {
	case err == nil:
		_ = e.begin() // it may have had no event; and nobody minds if the caller is gone
	case e.hasBegun():
		_ = e.Send(newErrorEvent(err))
	default:
		untold = err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	return untold
}

func (e *Events) hasBegun() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.begun
}
