package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 90 * time.Minute: "90m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %s, want %s", d, got, want)
		}
	}
}

// What sessions, agents and callers have named does not command the terminal of
// whoever looks at it.
func TestOthersTextsCommandNoTerminal(t *testing.T) {
	const text = "a\x1b]0;title\x07\u009b2J\rb\u202e\x7f é"
	const want = `a\x1b]0;title\a\u009b2J\rb\u202e\x7f é`
	var table, said strings.Builder
	row(&table, text)
	(&terminal{w: &said}).warn(text+"\nmore", text)
	if got := table.String(); got != strings.ReplaceAll(want, `\r`, " ")+"\n" {
		t.Errorf("row = %q", got)
	}
	if got := said.String(); got != "warning: "+want+"\nmore\nhint: "+want+"\n" {
		t.Errorf("warn = %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 38 << 20: "38MiB", 8 << 30: "8.0GiB", 5 << 50: "5120TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	fault := errors.New("disk full")
	tests := []struct {
		err           error
		message, hint string
		exit          int
	}{
		{fault, "disk full", "", 1},
		{isolde.Errorf(isolde.CodeQuota, "too many").WithHint("stop some").WithCause(fault), "too many", "stop some", 6},
		{isolde.Errorf(isolde.CodeInternal, "cannot write").WithCause(fault), "cannot write: disk full", "", 1},
		{isolde.Errorf(isolde.CodeInternal, "cannot write: %w", fault), "cannot write: disk full", "", 1},
		{fmt.Errorf("wrapped: %w", &isolde.Error{Code: isolde.CodeUnsupported, Op: "open driver", Message: "no KVM"}), "open driver: no KVM", "", 9},
	}
	for _, tt := range tests {
		message, hint := describe(tt.err)
		if exit := codeOf(tt.err).ExitCode(); message != tt.message || hint != tt.hint || exit != tt.exit {
			t.Errorf("%v: got %q, %q, %d", tt.err, message, hint, exit)
		}
	}
}

func TestCodeOfException(t *testing.T) {
	tests := []struct {
		exception string
		status    int
		want      isolde.Code
	}{
		{"RuntimeClientError", 424, isolde.CodeAgent},
		{"ResourceNotFoundException", 404, isolde.CodeNotFound},
		{"RetryableConflictException", 409, isolde.CodeConflict},
		{"", 429, isolde.CodeThrottled},
		{"", 502, isolde.CodeUnavailable},
	}
	for _, tt := range tests {
		if got := codeOfException(tt.exception, tt.status); got != tt.want {
			t.Errorf("%s %d: %s, want %s", tt.exception, tt.status, got, tt.want)
		}
	}
}
