package cli

import "testing"

func TestReadable(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"plain", "message 1: hello", "message 1: hello"},
		{"python", `{"timestamp": "2026-11-22T15:57:50Z", "level": "INFO", "message": "Returning", "requestId": "x"}`, "INFO Returning"},
		{
			"python traceback", `{"level": "ERROR", "message": "Error in streaming", "stackTrace": ["Traceback (most recent call last):\n", "  File \"a.py\"\n    x\n", "KeyError: 'x'\n"]}`,
			"ERROR Error in streaming\n  Traceback (most recent call last):\n    File \"a.py\"\n      x\n  KeyError: 'x'",
		},
		{"pino", `{"level":30,"time":1,"msg":"incoming request","req":{"url":"/"}}`, "INFO incoming request"},
		{"pino error", `{"level":50,"msg":"boom","err":{"type":"Error","stack":"Error: boom\n    at x"}}`, "ERROR boom\n  Error: boom\n      at x"},
		{"not a log", `{"answer": 42}`, `{"answer": 42}`},
		{"a log of another form", `{"level": "info", "event": "x"}`, `{"level": "info", "event": "x"}`},
		{"broken", `{"level": "info", "message": "x`, `{"level": "info", "message": "x`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := readable(tt.line); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
