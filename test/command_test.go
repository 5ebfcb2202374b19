package test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// outputOf joins what a command printed to an output.
func outputOf(lines []line, output string) string {
	var text strings.Builder
	for _, l := range lines {
		if l.Event == output {
			text.WriteString(l.Data)
		}
	}
	return text.String()
}

// TestCommandsInASession runs InvokeAgentRuntimeCommand with AWS's clients.
func TestCommandsInASession(t *testing.T) {
	clients := clients(t)
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("agents/echo")
		for i, c := range clients {
			t.Run(c.name, func(t *testing.T) {
				id := sessionNumber(i)
				run := func(text string, more ...string) []line {
					return c.run(t, b, append([]string{"command", arn, text, "--session", string(id)}, more...)...)
				}
				// The session does not run: it is started.
				lines := run(`printf 'grüße 😀\n'; echo wrong >&2; echo $((6 * 7)) > answer; test -n "$BASH_VERSION" && exit 3`)
				if got := last(lines); got.Event != "exit" || got.ExitCode != 3 || lines[0].Session != string(id) {
					t.Errorf("exit = %+v", lines)
				}
				if out, errs := outputOf(lines, "stdout"), outputOf(lines, "stderr"); out != "grüße 😀\n" || errs != "wrong\n" {
					t.Errorf("stdout %q, stderr %q", out, errs)
				}
				// Another command sees the files of the first, the agent's environment and folder.
				r := b.echo(arn, id, `{}`)
				lines = run(`cat answer; pwd; echo "$AWS_REGION $PORT" | sed 's/ /-/' | tr a-z A-Z; kill -9 $$`)
				if want := fmt.Sprintf("42\n%s\nUS-EAST-1-8080\n", r.CWD); outputOf(lines, "stdout") != want || last(lines).ExitCode != 137 {
					t.Errorf("%q, %+v; want %q", outputOf(lines, "stdout"), last(lines), want)
				}
				testCommandTimeout(t, run)
				if got := b.echo(arn, id, `{}`); got.Count != 2 || got.PID != r.PID {
					t.Errorf("the agent is another: %+v", got)
				}
			})
		}
		t.Run("CLI", func(t *testing.T) { testExec(t, b, sessionNumber(0)) })
		t.Run("beside an invocation", func(t *testing.T) { testCommandWithInvocation(t, b, arn) })
	})
}

// testCommandTimeout wants everything that a command started to be gone when
// its time is over, also what hid from its parent.
func testCommandTimeout(t *testing.T, run func(text string, more ...string) []line) {
	t.Helper()
	const alive = `alive() { n=0; for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^sleep 98[0-9]' && n=$((n+1)); done; echo $n; }; `
	lines := run(alive+`sleep 981 & (sleep 982 &) ; bash -c 'set -m; (sleep 983 &) & disown'; until [ $(alive) = 3 ]; do :; done; echo ready; sleep 984`, "--timeout", "6")
	if got := last(lines); got.ExitCode != -1 || got.Outcome != "TIMED_OUT" || outputOf(lines, "stdout") != "ready\n" {
		t.Errorf("timeout: %+v, printed %q", got, outputOf(lines, "stdout"))
	}
	if got := outputOf(run(alive+"alive"), "stdout"); got != "0\n" {
		t.Errorf("%q of the command's processes run on", got)
	}
}

func testExec(t *testing.T, b *bed, id isolde.SessionID) {
	out, errs, exit := b.isolde("session", "exec", string(id), "--", "bash", "-c", `echo "$1"; echo bad >&2; exit 5`, "x", "a  b")
	if out != "a  b\n" || errs != "bad\n" || exit != 5 {
		t.Errorf("exec: %q, %q, %d", out, errs, exit)
	}
	if out, _, exit := b.isolde("session", "exec", string(id), "--", "cat", "/etc/hosts"); exit != 0 || out == "" {
		t.Errorf("cat: %q, %d", out, exit)
	}
	if _, errs, exit := b.isolde("session", "exec", string(id), "--timeout", "1s", "--", "sleep", "60"); exit != 124 || !strings.Contains(errs, "did not end within 1s") {
		t.Errorf("sleep: %q, %d", errs, exit)
	}
	if _, errs, exit := b.isolde("session", "exec", string(id), "--", "no-such-program"); exit == 0 || !strings.Contains(errs, "error:") {
		t.Errorf("no such program: %q, %d", errs, exit)
	}
	if _, errs, exit := b.isolde("session", "exec", string(sessionNumber(99)), "--", "true"); exit != isolde.CodeNotFound.ExitCode() {
		t.Errorf("no such session: %q, %d", errs, exit)
	}
	// The command stands in the session's log, its output does not.
	log := b.mustIsolde("logs", "--session", string(id), "--tail", "-1")
	if !strings.Contains(log, `command ["bash" "-c"`) || strings.Contains(log, "bad\n") {
		t.Errorf("log:\n%s", log)
	}
	// Large output comes whole.
	if out := b.mustIsolde("session", "exec", string(id), "--", "head", "-c", "5000000", "/dev/zero"); !bytes.Equal([]byte(out), make([]byte, 5000000)) {
		t.Errorf("%d bytes of 5000000", len(out))
	}
}

// testCommandWithInvocation wants an invocation to be answered while a command
// runs, and the command to be cut off when the session ends.
func testCommandWithInvocation(t *testing.T, b *bed, arn string) {
	id := sessionNumber(50)
	b.echo(arn, id, `{}`)
	done := make(chan string, 1)
	go func() {
		_, errs, exit := b.isolde("session", "exec", string(id), "--", "sleep", "600")
		done <- fmt.Sprint(exit, " ", errs)
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if s, err := b.client.Session(t.Context(), "", id); err == nil && s.InFlight == 1 && s.State == isolde.SessionActive {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the command does not run")
		}
	}
	b.echo(arn, id, `{}`)
	if _, err := b.client.StopSession(t.Context(), "", id); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !strings.HasPrefix(got, fmt.Sprint(isolde.CodeAgent.ExitCode())) || !strings.Contains(got, "session ended") {
		t.Errorf("exec in a session that was stopped: %s", got)
	}
}
