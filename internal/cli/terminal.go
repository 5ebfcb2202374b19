package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// terminal is stderr: information for people. It may be written to by
// several goroutines; each call is one piece.
type terminal struct {
	pretty bool // a terminal that can rewrite its line
	color  bool

	mu      sync.Mutex
	w       io.Writer
	pending bool // the last line is a status that the next write replaces
}

func newTerminal(w io.Writer, getenv func(string) string) *terminal {
	t := &terminal{w: w}
	t.pretty = isTerminal(w) && getenv("TERM") != "dumb"
	t.color = t.pretty && getenv("NO_COLOR") == ""
	return t
}

// isTerminal tells whether a stream leads to a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Write passes whole lines of others (logs) through.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	return t.w.Write(p)
}

// printf writes a line or several; the last newline is added.
func (t *terminal) printf(format string, args ...any) {
	fmt.Fprintln(t, fmt.Sprintf(format, args...))
}

// status shows a line that the next write replaces. Only pretty terminals
// have one.
func (t *terminal) status(line string) {
	if !t.pretty {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	if width, _, err := term.GetSize(int(t.w.(*os.File).Fd())); err == nil && len(line) >= width && width > 1 {
		line = strings.ToValidUTF8(line[:width-1], "")
	}
	fmt.Fprint(t.w, line)
	t.pending = true
}

func (t *terminal) clear() {
	if t.pending {
		fmt.Fprint(t.w, "\r\x1b[K")
		t.pending = false
	}
}

// error writes "error:" and, when there is one, "hint:".
func (t *terminal) error(err error) {
	message, hint := describe(err)
	t.diagnose("error", "31", message, hint)
}

// warn writes "warning:" and "hint:".
func (t *terminal) warn(message, hint string) { t.diagnose("warning", "33", message, hint) }

func (t *terminal) diagnose(label, color, message, hint string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", t.paint(color+";1", label+":"), harmless(message))
	if hint != "" {
		fmt.Fprintf(&b, "%s %s\n", t.paint("36", "hint:"), harmless(hint))
	}
	fmt.Fprint(t, b.String())
}

func (t *terminal) bold(s string) string { return t.paint("1", s) }
func (t *terminal) dim(s string) string  { return t.paint("2", s) }

// paint wraps s in a colour of the ANSI set, e.g. "31" for red.
func (t *terminal) paint(color, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// indent puts two spaces before every line of s.
func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}
