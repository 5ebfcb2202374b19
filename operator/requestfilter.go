package operator

import (
	"slices"
	"strings"

	"github.com/isolde-run/isolde/session"
)

// requestFilter selects the lines of a log that are of one request: those that
// name it, as the lines of AWS's SDKs and Isolde's own do, and those that were
// written while it ran and name no other request of that time. The zero value
// selects all.
type requestFilter struct {
	id       string
	from, to int64 // of what was written while it ran; to is -1 for the end
	others   []string
}

// newRequestFilter makes the filter of a log. An empty id selects all lines.
func newRequestFilter(log *session.LogReader, id string) requestFilter {
	f := requestFilter{id: id}
	if id != "" {
		f.from, f.to, f.others, _ = log.Request(id)
	}
	return f
}

// match reports whether a line, which begins at an offset, is selected.
func (f requestFilter) match(at int64, line string) bool {
	if f.id == "" || strings.Contains(line, f.id) {
		return true
	}
	names := func(id string) bool { return strings.Contains(line, id) }
	return f.from <= at && (at < f.to || f.to < 0) && !slices.ContainsFunc(f.others, names)
}
