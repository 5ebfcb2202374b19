package shell

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/isolde-run/isolde"
)

// Status is the payload of Result: that a connection holds its shell, or that
// the shell is over. It is Kubernetes' metav1.Status.
type Status struct {
	Kind       string   `json:"kind"`
	APIVersion string   `json:"apiVersion"`
	Metadata   Metadata `json:"metadata"`
	Status     string   `json:"status"` // Success or Failure
	Reason     string   `json:"reason,omitempty"`
	Message    string   `json:"message,omitempty"`
	Details    *Details `json:"details,omitempty"`
	Code       int      `json:"code,omitempty"`
}

// Metadata is of a connection that holds its shell; else it is empty.
type Metadata struct {
	ShellID      ID    `json:"shellId,omitempty"`
	Reconnected  *bool `json:"reconnected,omitempty"`  // the shell was there before
	BytesDropped int64 `json:"bytesDropped,omitempty"` // of what it showed while nobody was connected
}

// Details say how a shell ended.
type Details struct {
	Causes []Cause `json:"causes"`
}

// Cause is an ExitCode or a Signal, as a number.
type Cause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func newStatus(status string) Status {
	return Status{Kind: "Status", APIVersion: "v1", Status: status}
}

// Opened is that a connection holds its shell.
func Opened(id ID, reconnected bool, dropped int64) Status {
	s := newStatus("Success")
	s.Metadata = Metadata{ShellID: id, Reconnected: &reconnected, BytesDropped: dropped}
	return s
}

// Exited is that the shell ended by itself. 128+n is signal n, as shells have
// it.
func Exited(code int) Status {
	if code == 0 {
		return newStatus("Success")
	}
	s := newStatus("Failure")
	s.Reason, s.Message = "NonZeroExitCode", fmt.Sprintf("command terminated with exit code %d", code)
	s.Details = &Details{Causes: []Cause{{"ExitCode", strconv.Itoa(code)}}}
	if n := code - 128; 0 < n && n <= 64 {
		s.Details.Causes = append(s.Details.Causes, Cause{"Signal", strconv.Itoa(n)})
	}
	return s
}

// Failed is that there is no shell, or no longer one.
func Failed(message string) Status {
	s := newStatus("Failure")
	s.Reason, s.Message, s.Code = "InternalError", message, 500
	return s
}

// Frame is the status as a message.
func (s Status) Frame() []byte { return jsonFrame(Result, s) }

// ParseStatus reads a Status. Errors: CodeInvalid.
func ParseStatus(payload []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(payload, &s); err != nil {
		return s, isolde.Errorf(isolde.CodeInvalid, "a status that cannot be read: %w", err)
	}
	return s, nil
}

// Over reports whether the shell is.
func (s Status) Over() bool { return s.Metadata.ShellID == "" }

// ExitCode is that of a shell that is over; false if it has none, since it
// failed otherwise.
func (s Status) ExitCode() (int, bool) {
	if s.Status == "Success" {
		return 0, true
	}
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			if c.Reason == "ExitCode" {
				code, err := strconv.Atoi(c.Message)
				return code, err == nil
			}
		}
	}
	return 0, false
}
