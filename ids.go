package isolde

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
)

// RuntimeID is "<name>-<10 alphanumerics>".
type RuntimeID string

// SessionID is the caller's id of a session, 33 to 256 bytes.
type SessionID string

// The bounds of a session id in the AgentCore model.
const (
	MinSessionID = 33
	MaxSessionID = 256
)

var (
	nameRE    = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,47}$`)
	accountRE = regexp.MustCompile(`^[0-9]{12}$`)
	regionRE  = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// ValidateName checks the name of an agent runtime or an endpoint. what is
// "agent name" or "endpoint name", for the message.
func ValidateName(what, name string) error {
	if nameRE.MatchString(name) {
		return nil
	}
	return Errorf(CodeInvalid, "%s %q is not valid: it must start with a letter and hold 1 to 48 letters, digits and underscores", what, name).
		WithHint("for example %q", SuggestName(name))
}

// SuggestName turns any text, such as a folder's name, into a valid name.
func SuggestName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, s)
	s = strings.Trim(s, "_")
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		s = "agent_" + s
	}
	return strings.TrimRight(s[:min(len(s), 48)], "_")
}

const alphanumerics = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// NewRuntimeID makes a fresh id for an agent runtime of the name.
func NewRuntimeID(name string) RuntimeID {
	var b [10]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = alphanumerics[int(b[i])%len(alphanumerics)]
	}
	return RuntimeID(name + "-" + string(b[:]))
}

// ParseRuntimeID checks the form of an id. It is called for every request, as
// is ParseSessionID: neither uses a regular expression.
func ParseRuntimeID(s string) (RuntimeID, error) {
	if !isRuntimeID(s) {
		return "", Errorf(CodeInvalid, "agent runtime id %q is not of the form <name>-<10 letters or digits>", s)
	}
	return RuntimeID(s), nil
}

// isRuntimeID says whether s is a name, a hyphen and ten alphanumerics.
func isRuntimeID(s string) bool {
	name := len(s) - 11
	if name < 1 || name > 48 || s[name] != '-' || !isLetter(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; i != name && !isLetter(c) && (c < '0' || c > '9') && (c != '_' || i > name) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// isVisible says whether s holds visible ASCII characters only.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// ParseSessionID checks a session id: 33 to 256 visible ASCII characters. The
// API's model bounds only the length; what cannot stand in a header is refused.
func ParseSessionID(s string) (SessionID, error) {
	if len(s) < MinSessionID || len(s) > MaxSessionID {
		return "", Errorf(CodeInvalid, "runtimeSessionId %q has %d characters; it must have %d to %d", shorten(s), len(s), MinSessionID, MaxSessionID).
			WithHint("a UUID fits")
	}
	if !isVisible(s) {
		return "", Errorf(CodeInvalid, "runtimeSessionId %q may hold visible ASCII characters only", shorten(s)).
			WithHint("a UUID fits")
	}
	return SessionID(s), nil
}

// NewSessionID makes a random id in the form of a UUID, as AWS SDKs do.
func NewSessionID() SessionID {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return SessionID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// Locality is the region and account that this server's ARNs carry. They
// mean nothing to Isolde, but clients parse them.
type Locality struct {
	Region  string // e.g. "us-east-1"
	Account string // 12 digits
}

// Validate checks that l can stand in an ARN.
func (l Locality) Validate() error {
	if !regionRE.MatchString(l.Region) {
		return Errorf(CodeInvalid, "region %q may hold lower-case letters, digits and hyphens", l.Region)
	}
	if !accountRE.MatchString(l.Account) {
		return Errorf(CodeInvalid, "account %q must be 12 digits", l.Account)
	}
	return nil
}

// RuntimeARN is the ARN of an agent runtime.
func (l Locality) RuntimeARN(id RuntimeID) string {
	return "arn:aws:bedrock-agentcore:" + l.Region + ":" + l.Account + ":runtime/" + string(id)
}

// EndpointARN is the ARN of an endpoint.
func (l Locality) EndpointARN(id RuntimeID, name EndpointName) string {
	return l.RuntimeARN(id) + "/runtime-endpoint/" + string(name)
}

func shorten(s string) string {
	if len(s) > 40 {
		return s[:37] + "..."
	}
	return s
}
