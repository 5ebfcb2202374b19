package sandbox

import (
	"crypto/rand"
	"encoding/hex"
)

// Fingerprint is what a driver finds out about this machine. isolde doctor
// prints it.
type Fingerprint struct {
	Driver    string   `json:"driver"`
	Available bool     `json:"available"`         // it can run sandboxes here, now, with these privileges
	Reason    string   `json:"reason,omitempty"`  // why not, or with what restriction
	Hint      string   `json:"hint,omitempty"`    // the command that helps
	Isolation string   `json:"isolation"`         // Capabilities.Isolation
	Details   []Detail `json:"details,omitempty"` // what it found, e.g. {"runsc", "bin/runsc release-2026…"}
}

// Detail is a named finding.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// NewID makes a random sandbox id: "s" and ten hexadecimal digits.
func NewID() ID {
	var b [5]byte
	rand.Read(b[:])
	return ID("s" + hex.EncodeToString(b[:]))
}
