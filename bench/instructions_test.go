//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// countInstructions counts what the processor executes for processes, in user
// mode and in the kernel, until stop. Unlike time, it hardly depends on what
// else the machine does. Counts are zero where perf cannot count.
func countInstructions(b *testing.B, pids []int) (stop func() (user, kernel float64)) {
	b.Helper()
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", ","), "[]")
	perf := exec.Command("perf", "stat", "-x", ";", "-e", "instructions:u,instructions:k", "-p", list)
	var out bytes.Buffer
	perf.Stderr = &out
	if err := perf.Start(); err != nil {
		return func() (user, kernel float64) { return 0, 0 }
	}
	time.Sleep(200 * time.Millisecond) // until it counts
	return func() (user, kernel float64) {
		_ = perf.Process.Signal(os.Signal(syscall.SIGINT))
		_ = perf.Wait() // its status is the signal's
		for line := range strings.Lines(out.String()) {
			field := strings.Split(line, ";")
			if len(field) < 3 {
				continue
			}
			n, _ := strconv.ParseFloat(field[0], 64)
			switch {
			case strings.HasPrefix(field[2], "instructions:u"):
				user = n
			case strings.HasPrefix(field[2], "instructions:k"):
				kernel = n
			}
		}
		return user, kernel
	}
}
