package need

import (
	"fmt"
	"os/exec"
	"testing"
)

// Packages needs what an installer gets from a registry: it runs the command,
// which names the need ("python", "node"), and tells its output if it fails.
func Packages(t testing.TB, name string, install *exec.Cmd) {
	t.Helper()
	if out, err := install.CombinedOutput(); err != nil {
		missing(t, name, fmt.Sprintf("%s: %v: %s", install, err, out))
	}
}
