package project

import (
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
)

func TestLoadLimits(t *testing.T) {
	const key = "entrypoint: ./a\nlimits: "
	got, err := Load(folder(t, "a", map[string]string{File: key + "{sessions: 10, newSessionsPerSecond: 0.5, requestsPerSecond: 20, busyTimeout: 2h}"}), shell)
	want := isolde.Limits{Sessions: 10, NewSessionsPerSecond: 0.5, RequestsPerSecond: 20, BusyTimeout: 7200}
	if err != nil || got.Spec.Limits != want {
		t.Errorf("limits = %+v, %v", got.Spec.Limits, err)
	}
	for text, message := range map[string]string{
		"{sessions: 0}":           `"0" is not a whole number above zero`,
		"{requestsPerSecond: -1}": `"-1" is not a number per second`,
		"{busyTimeout: 9h}":       "busyTimeout is 9h0m0s; it must be 1m to 8h",
		"{rps: 1}":                `unknown key "rps" in limits`,
	} {
		if _, err := Load(folder(t, "a", map[string]string{File: key + text}), shell); isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), message) {
			t.Errorf("limits: %s: %v", text, err)
		}
	}
}
