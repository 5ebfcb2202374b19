package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// outputPrinter writes an agent's output for people and pipes: text as it is,
// JSON strings unquoted and joined, JSON objects and arrays one per line.
type outputPrinter struct {
	w       io.Writer
	midLine bool
	failure string // what the agent said in its last error event
}

// stream prints the events of a text/event-stream as they come.
func (p *outputPrinter) stream(body io.Reader) error {
	r := newEventReader(body)
	for {
		ev, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = p.event(ev)
		}
		if err != nil {
			return err
		}
	}
}

func (p *outputPrinter) event(ev event) error {
	data := bytes.TrimSpace(ev.data)
	switch {
	case len(data) > 0 && data[0] == '"':
		var s string
		if json.Unmarshal(data, &s) == nil {
			return p.text([]byte(s))
		}
	case len(data) > 0 && (data[0] == '{' || data[0] == '['):
		var line bytes.Buffer
		if json.Compact(&line, data) == nil {
			p.noteFailure(ev.name, line.Bytes())
			return p.line(line.Bytes())
		}
	}
	if ev.name == "error" {
		p.failure = string(data)
	}
	return p.text(ev.data)
}

// noteFailure recognises the events with which agents report an error after
// their answer has begun: {"error": …, "message": …} of the Python SDK, and
// "event: error" of the TypeScript SDK.
func (p *outputPrinter) noteFailure(name string, object []byte) {
	var e struct {
		Error any    `json:"error"`
		Type  string `json:"error_type"`
	}
	if name != "error" && !bytes.Contains(object, []byte(`"error"`)) {
		return
	}
	_ = json.Unmarshal(object, &e) // fields of another type stay empty
	switch said := e.Error.(type) {
	case string:
		if said != "" {
			p.failure = said
			if e.Type != "" {
				p.failure = e.Type + ": " + said
			}
		}
	case map[string]any:
		p.failure = string(object)
	}
	if name == "error" && p.failure == "" {
		p.failure = string(object)
	}
}

func (p *outputPrinter) text(s []byte) error {
	if len(s) == 0 {
		return nil
	}
	p.midLine = s[len(s)-1] != '\n'
	_, err := p.w.Write(s)
	return err
}

func (p *outputPrinter) line(s []byte) error {
	if err := p.endLine(); err != nil {
		return err
	}
	_, err := p.w.Write(append(s, '\n'))
	return err
}

// endLine ends a line that has begun.
func (p *outputPrinter) endLine() error {
	if !p.midLine {
		return nil
	}
	p.midLine = false
	_, err := p.w.Write([]byte{'\n'})
	return err
}

// document prints a body that is no stream of events: a JSON string unquoted,
// anything else as it is.
func (p *outputPrinter) document(body io.Reader) error {
	var first [1]byte
	n, err := io.ReadFull(body, first[:])
	if n == 0 {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	if first[0] != '"' {
		if err := p.text(first[:]); err != nil {
			return err
		}
		return p.copy(body)
	}
	rest, err := io.ReadAll(body)
	all := append(first[:], rest...)
	var s string
	if json.Unmarshal(all, &s) == nil {
		all = []byte(s)
	}
	if werr := p.text(all); werr != nil {
		return werr
	}
	return err
}

// copy prints bytes as they come.
func (p *outputPrinter) copy(body io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if werr := p.text(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
