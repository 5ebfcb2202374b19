package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEvent bounds one event of a stream; an agent's answer has at most
// 100 MB.
const maxEvent = 128 << 20

var errLongEvent = errors.New("an event of the stream is longer than 128 MiB")

// event is a server-sent event.
type event struct {
	name string // the event field; empty for a message
	data []byte // the data fields, joined by newlines; valid until the next event
}

// eventReader reads a text/event-stream as the HTML standard defines it, with
// one leniency: an event that the end of the stream cuts off is returned as
// well, since what an agent said last is often what one looks for.
type eventReader struct {
	r      *bufio.Reader
	line   []byte
	data   []byte
	skipLF bool // the last line ended with a carriage return
	begun  bool
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next event that has data, as soon as its last byte came.
// The error is io.EOF at the end, or that of the stream; data that came before
// it was returned.
func (e *eventReader) next() (event, error) {
	var ev event
	hasData := false
	e.data = e.data[:0]
	for {
		if err := e.readLine(); err != nil {
			if hasData && !errors.Is(err, errLongEvent) {
				break // the error comes again
			}
			return event{}, err
		}
		if len(e.line) == 0 {
			if hasData {
				break
			}
			ev.name = ""
			continue
		}
		field, value, _ := bytes.Cut(e.line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if hasData {
				e.data = append(e.data, '\n')
			}
			if len(e.data)+len(value) > maxEvent {
				return event{}, errLongEvent
			}
			e.data, hasData = append(e.data, value...), true
		case "event":
			ev.name = string(value)
		}
	}
	ev.data = e.data
	return ev, nil
}

// readLine reads up to a line feed, a carriage return or both into e.line.
// At the end of the stream it returns what there is, then the error.
func (e *eventReader) readLine() error {
	e.line = e.line[:0]
	for {
		if _, err := e.r.Peek(1); err != nil {
			if len(e.line) > 0 {
				return nil
			}
			return err
		}
		chunk, _ := e.r.Peek(e.r.Buffered())
		if e.skipLF {
			e.skipLF = false
			if chunk[0] == '\n' {
				e.discard(1)
				continue
			}
		}
		end := bytes.IndexAny(chunk, "\r\n")
		if end < 0 {
			e.line = append(e.line, chunk...)
			e.discard(len(chunk))
		} else {
			e.line = append(e.line, chunk[:end]...)
			e.skipLF = chunk[end] == '\r'
			e.discard(end + 1)
		}
		if len(e.line) > maxEvent {
			return errLongEvent
		}
		if end >= 0 {
			break
		}
	}
	if !e.begun {
		e.begun = true
		e.line = bytes.TrimPrefix(e.line, []byte("\xef\xbb\xbf"))
	}
	return nil
}

// discard drops n bytes that were peeked at, which cannot fail.
func (e *eventReader) discard(n int) { _, _ = e.r.Discard(n) }
