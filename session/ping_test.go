package session

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answer is an agent that gives every ping the same answer.
type answer http.Response

func (a answer) RoundTrip(*http.Request) (*http.Response, error) {
	r := http.Response(a)
	return &r, nil
}

// endless is a stream that never ends and has nothing to say.
type endless struct{}

func (endless) Read([]byte) (int, error) { select {} }
func (endless) Close() error             { return nil }

func TestPing(t *testing.T) {
	text := func(status int, body string) answer {
		return answer{StatusCode: status, Status: fmt.Sprint(status), ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
	}
	for _, test := range []struct {
		name          string
		answer        func() answer
		ping, answers bool // healthy
		busy          bool
	}{
		{"healthy", func() answer { return text(200, `{"status":"Healthy"}`) }, true, true, false},
		{"busy", func() answer { return text(200, `{"status":"HealthyBusy"}`) }, true, true, true},
		{"no JSON", func() answer { return text(200, `ok`) }, true, true, false},
		{"unknown status", func() answer { return text(200, `{"status":"ok"}`) }, false, true, false},
		{"no such path", func() answer { return text(404, `Not Found`) }, false, true, false},
		{"not ready", func() answer { return text(503, ``) }, false, true, false},
	} {
		for h, want := range map[Health]bool{HealthPing: test.ping, HealthAnswers: test.answers} {
			p := h.ping(t.Context(), test.answer())
			if (p.err == nil) != want || !p.answered || p.busy != test.busy {
				t.Errorf("%s, health %q: %+v, want healthy: %v", test.name, h, p, want)
			}
		}
	}
	stream := answer{StatusCode: 200, ContentLength: -1, Body: endless{}}
	if p := HealthAnswers.ping(t.Context(), stream); p.err != nil || !p.answered {
		t.Errorf("a server that answers with a stream: %+v", p)
	}
}

func TestHealthIsKept(t *testing.T) {
	m := &Manager{cfg: Config{LogDir: t.TempDir()}}
	labels := map[string]string{
		labelRuntime: "a-0123456789", labelSession: string(key.Session), labelVersion: "1", labelIdle: "60", labelMax: "60",
		labelPort: "8000", labelStarted: "2026-01-02T03:04:05Z",
	}
	for label, want := range map[string]Health{"": HealthPing, "answers": HealthAnswers} {
		labels[labelHealth] = label
		if s, err := m.fromLabels(labels); err != nil || s.health != want {
			t.Errorf("label %q: %v, %v", label, s, err)
		}
	}
}
