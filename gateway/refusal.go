package gateway

import (
	"fmt"
	"strings"

	"github.com/isolde-run/isolde"
)

// Refusal is the cause of the error that a caller gets in place of an agent's
// own: what the agent answered. Some protocols give its status a meaning.
type Refusal struct {
	Status int    // the agent's HTTP status
	Text   string // the beginning of its body, for the operator's log
}

// Error is the status and the text.
func (r *Refusal) Error() string { return fmt.Sprintf("status %d: %s", r.Status, r.Text) }

// maxShown bounds how much of an agent's error is logged, or shown to the
// caller, in bytes.
const maxShown = 2048

// refusal is the error for a caller whose agent answered with a status of its
// own and a text.
func (g *Gateway) refusal(status int, text []byte) *isolde.Error {
	shown := string(text[:min(len(text), maxShown)])
	err := isolde.Errorf(isolde.CodeAgent, "Received error (%d) from runtime.", status)
	if own := strings.TrimSpace(strings.ToValidUTF8(shown, "")); g.ExposeAgentErrors && own != "" {
		err = isolde.Errorf(isolde.CodeAgent, "Received error (%d) from runtime: %s", status, own)
	}
	return err.WithCause(&Refusal{Status: status, Text: shown})
}
