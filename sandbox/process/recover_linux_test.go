package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/isolde-run/isolde/sandbox"
)

// TestRecoverSparesStrangers plays a machine that was started anew: the number
// of a dead agent is that of a daemon's session, whose leader has ended as
// those of daemons do.
func TestRecoverSparesStrangers(t *testing.T) {
	daemon := exec.Command("sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!")
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := daemon.Output()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHandle(stranger, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.kill(); err != nil {
			t.Error(err)
		}
		h.close()
	})

	for name, boot := range map[string]string{"reboot": "another boot", "reuse": bootID()} {
		state := t.TempDir()
		dir := filepath.Join(state, "sdead")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r := record{ID: sandbox.ID("sdead"), Boot: boot, Agent: identity{PID: daemon.Process.Pid, Start: "1"}}
		if err := r.write(dir); err != nil {
			t.Fatal(err)
		}
		d, err := open(context.Background(), Config{StateDir: state, Logger: testLogger(t)}, false)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := d.Recover(t.Context()); err != nil || len(found) > 0 {
			t.Errorf("%s: recovered %v, %v", name, found, err)
		}
		if h.ended() {
			t.Errorf("%s: Recover killed a process that is no agent's", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the dead sandbox's folder is left", name)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
