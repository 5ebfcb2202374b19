package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
)

// format is the value of --output.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
)

// Set, String and Type make format a flag.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatText, formatJSON:
		*f = format(s)
		return nil
	}
	return isolde.Errorf(isolde.CodeInvalid, "it can be text or json")
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "text|json" }

// outputFlag adds -o to a command that lists or gets.
func (a *app) outputFlag(c *cobra.Command) {
	a.output = formatText
	c.Flags().VarP(&a.output, "output", "o", "form of the answer on stdout")
}

// answer prints v as JSON if -o json was given, else calls text.
func (a *app) answer(v any, text func(w io.Writer)) error {
	if a.output == formatJSON {
		return writeJSON(a.out, v)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// row writes the cells of a table; the last one is not padded.
func row(w io.Writer, cells ...any) {
	s := make([]string, len(cells))
	for i, c := range cells {
		if s[i] = oneLine(fmt.Sprint(c)); s[i] == "" {
			s[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(s, "\t"))
}

func oneLine(s string) string { return harmless(strings.Join(strings.Fields(s), " ")) }

// harmless is a text of others with what would command a terminal, or turn
// the reading direction, as escapes: an agent's last words are shown, too.
func harmless(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || r == '\t' || strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// age is a duration for people: 5s, 3m, 2h, 4d.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// since is the age of a time, and empty for none.
func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return age(time.Since(t))
}

// size is a number of bytes for people, in the units of isolde.yaml.
func size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if v < 10 {
		return fmt.Sprintf("%.1f%ciB", v, units[i])
	}
	return fmt.Sprintf("%.0f%ciB", v, units[i])
}
