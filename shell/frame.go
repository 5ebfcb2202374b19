// Package shell speaks the frames of AgentCore's interactive shells (the
// operation InvokeAgentRuntimeCommandShell), which both the server and isolde
// session shell use: a binary WebSocket message is one byte that names a
// channel, and its payload, as in Kubernetes' v5.channel.k8s.io.
package shell

import (
	"crypto/rand"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/isolde-run/isolde"
)

// Channel says what a frame's payload is.
type Channel byte

// The channels.
const (
	Stdin     Channel = 0x00 // to the shell: what is typed
	Stdout    Channel = 0x01 // from the shell: what the terminal shows
	Stderr    Channel = 0x02 // from the server: what it has to say, as text
	Result    Channel = 0x03 // from the server: a Status
	Resize    Channel = 0x04 // to the shell: the window's Size
	Heartbeat Channel = 0x05 // empty; the server sends it back
	Close     Channel = 0xFF // empty; to the server: end the shell; from it: the platform ends it
)

// MaxFrame bounds a frame in bytes, its channel included: 64 KB, of the
// AgentCore limits page.
const MaxFrame = 64 << 10

// The close codes that are a shell's own, beside those of RFC 6455.
const (
	CodeTextFrames = 1003 // MaxTextFrames came one after another
	CodeReplaced   = 4000 // another connection took the shell over
)

// MaxTextFrames is how many text messages in a row end a connection: the
// client speaks another protocol.
const MaxTextFrames = 5

// Frame is a message.
func Frame(c Channel, payload []byte) []byte {
	return append(append(make([]byte, 0, 1+len(payload)), byte(c)), payload...)
}

// Parse takes a message apart; the payload is part of it. Errors: CodeInvalid
// for an empty message, or one over MaxFrame. A channel that is not known is
// none: the protocol may grow.
func Parse(message []byte) (Channel, []byte, error) {
	switch n := len(message); {
	case n == 0:
		return 0, nil, isolde.Errorf(isolde.CodeInvalid, "a frame without a channel")
	case n > MaxFrame:
		return 0, nil, isolde.Errorf(isolde.CodeInvalid, "a frame of %d bytes; at most %d are allowed", n, MaxFrame)
	}
	return Channel(message[0]), message[1:], nil
}

// Size is the payload of Resize: a window in characters.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// ParseSize reads a Size. Errors: CodeInvalid for what is no window.
func ParseSize(payload []byte) (Size, error) {
	var s Size
	if err := json.Unmarshal(payload, &s); err != nil {
		return s, isolde.Errorf(isolde.CodeInvalid, "the size of a window is {\"width\": columns, \"height\": rows}: %w", err)
	}
	if s.Width == 0 || s.Height == 0 {
		return s, isolde.Errorf(isolde.CodeInvalid, "a window of %d x %d", s.Width, s.Height)
	}
	return s, nil
}

// Frame is the size as a message.
func (s Size) Frame() []byte { return jsonFrame(Resize, s) }

func jsonFrame(c Channel, v any) []byte {
	payload, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and strings
	}
	return Frame(c, payload)
}

// ID names a shell within its session. Who has it can come back to the shell.
type ID string

var idRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}$`)

// NewID makes an ID that nobody guesses.
func NewID() ID { return ID(strings.ToLower(rand.Text())) }

// ParseID checks a client's. Errors: CodeInvalid.
func ParseID(s string) (ID, error) {
	if !idRE.MatchString(s) {
		e := isolde.Errorf(isolde.CodeInvalid, "shellId %.140q is not 1 to 128 letters, digits, _ and -, beginning with a letter or digit", s)
		e.Fields = []isolde.Field{{Name: "shellId", Message: "does not match " + idRE.String()}}
		return "", e
	}
	return ID(s), nil
}
