package cli

import (
	"encoding/json"
	"strings"
)

// readable makes a line of an agent's output readable in a terminal: the
// official SDKs log objects, with a traceback as a list in one of the fields.
// Any other line is returned as it is.
func readable(line string) string {
	if !strings.HasPrefix(line, "{") {
		return line
	}
	var l struct {
		Level   any    `json:"level"`
		Message string `json:"message"` // Python's SDK
		Msg     string `json:"msg"`     // TypeScript's, which logs with pino
		Stack   any    `json:"stackTrace"`
		Err     struct {
			Stack string `json:"stack"`
		} `json:"err"`
	}
	if json.Unmarshal([]byte(line), &l) != nil || l.Level == nil {
		return line
	}
	text := l.Message + l.Msg
	level := levelName(l.Level)
	if text == "" || level == "" {
		return line
	}
	out := level + " " + text
	if stack := strings.TrimRight(joined(l.Stack)+l.Err.Stack, "\n"); stack != "" {
		out += "\n" + indent(stack)
	}
	return out
}

// levelName is the name of a log level, also of one of pino's numbers.
func levelName(level any) string {
	switch v := level.(type) {
	case string:
		return strings.ToUpper(v)
	case float64:
		for _, l := range []struct {
			least float64
			name  string
		}{{60, "FATAL"}, {50, "ERROR"}, {40, "WARN"}, {30, "INFO"}, {20, "DEBUG"}} {
			if v >= l.least {
				return l.name
			}
		}
		return "TRACE"
	}
	return ""
}

// joined is a text, or a list of texts in one.
func joined(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var b strings.Builder
		for _, part := range v {
			b.WriteString(joined(part))
		}
		return b.String()
	}
	return ""
}
