package cli

import (
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/server"
)

func TestMemoryBudget(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "64GiB": 64 << 30, "1.5 GB": 1_500_000_000} {
		if got, err := memoryBudget(text); got != want || err != nil {
			t.Errorf("%q = %d, %v", text, got, err)
		}
	}
	if total, _, err := server.MachineMemory(); err == nil {
		if got, err := memoryBudget("50%"); got != total/2 || total == 0 || err != nil {
			t.Errorf("50%% = %d of %d, %v", got, total, err)
		}
	}
	for _, text := range []string{"much", "0", "-1GiB", "0%", "x%", "-5%"} {
		if got, err := memoryBudget(text); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("%q = %d, %v", text, got, err)
		}
	}
}

func TestLimitFlagsAreChecked(t *testing.T) {
	good := limitOptions{limits: server.Limits{MaxSessions: 1, MaxWebSockets: 1, MaxSessionWebSockets: 1, StartWait: time.Second, ReportBusyAfter: time.Hour}, busyTimeout: 2 * time.Hour}
	if l, err := good.complete(); err != nil || l.PerAgent.BusyTimeout != 7200 {
		t.Errorf("%+v, %v", l, err)
	}
	for name, spoil := range map[string]func(*limitOptions){
		"no sessions":  func(o *limitOptions) { o.limits.MaxSessions = 0 },
		"no socket":    func(o *limitOptions) { o.limits.MaxSessionWebSockets = 0 },
		"no wait":      func(o *limitOptions) { o.limits.StartWait = 0 },
		"a rate":       func(o *limitOptions) { o.limits.PerAgent.RequestsPerSecond = -1 },
		"busy timeout": func(o *limitOptions) { o.busyTimeout = time.Millisecond },
	} {
		bad := good
		spoil(&bad)
		if _, err := bad.complete(); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
