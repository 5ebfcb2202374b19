package gateway

import "fmt"

// Refusal is the cause of the error that a caller gets in place of an agent's
// own: what the agent answered. Some protocols give its status a meaning.
type Refusal struct {
	Status int    // the agent's HTTP status
	Text   string // the beginning of its body, for the operator's log
}

// Error is the status and the text.
func (r *Refusal) Error() string { return fmt.Sprintf("status %d: %s", r.Status, r.Text) }
