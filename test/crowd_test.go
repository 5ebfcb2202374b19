package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// each does something for the sessions from first to end, some at a time.
func each(first, end int, do func(n int)) {
	turn := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range turn {
				do(n)
			}
		})
	}
	for n := first; n < end; n++ {
		turn <- n
	}
	close(turn)
	wg.Wait()
}

// states counts an agent's sessions, ended ones too, by their state.
func (b *bed) states(agent string) (map[isolde.SessionState]int, []operator.Session) {
	b.t.Helper()
	list, err := b.client.Sessions(b.t.Context(), operator.SessionFilter{Agent: agent, Ended: true})
	if err != nil {
		b.t.Fatal(err)
	}
	states := make(map[isolde.SessionState]int)
	for _, s := range list {
		states[s.State]++
	}
	return states, list
}

// TestAHundredSessionsSurviveTheServersDeath: some of their sandboxes die
// while no server is there.
func TestAHundredSessionsSurviveTheServersDeath(t *testing.T) {
	const all, dead = 100, 5
	b := newBed(t, "gvisor")
	arn := b.deploy("agents/crowd")
	each(0, all, func(n int) {
		if r := b.echo(arn, sessionNumber(n), `{}`); r.Count != 1 {
			t.Errorf("session %d: %+v", n, r)
		}
	})
	_, before := b.states("crowd")
	started := make(map[isolde.SessionID]operator.Session)
	for _, s := range before {
		started[s.ID] = s
	}
	b.stop(syscall.SIGKILL)
	for n := range dead {
		if killed := killSandbox(t, started[sessionNumber(n)].Sandbox); killed == 0 {
			t.Fatalf("session %d has no process", n)
		}
	}
	b.start()

	states, after := b.states("crowd")
	if states[isolde.SessionIdle] != all-dead || states[isolde.SessionStopped] != dead {
		t.Errorf("after the server's death: %v", states)
	}
	for _, s := range after {
		was := started[s.ID]
		switch {
		case s.State == isolde.SessionStopped && s.EndReason == "":
			t.Errorf("session %s ended and nobody knows why", s.ID)
		case s.State == isolde.SessionStopped:
		case s.Sandbox != was.Sandbox || !s.StartedAt.Equal(was.StartedAt) || !s.ExpiresAt.Equal(was.ExpiresAt):
			t.Errorf("session was\n%+v and came back as\n%+v", was, s)
		}
	}
	each(0, all, func(n int) {
		want := 2
		if n < dead {
			want = 1 // its id starts anew
		}
		if r := b.echo(arn, sessionNumber(n), `{}`); r.Count != want || r.Files["cwd"] != want {
			t.Errorf("session %d came back as %+v", n, r)
		}
	})
	if log := b.mustIsolde("logs", "--session", string(sessionNumber(all-1))); strings.Index(log, "call 1") > strings.Index(log, "call 2") {
		t.Errorf("log has a gap:\n%s", log)
	}
}

// killSandbox kills all processes that name a sandbox and says how many there
// were.
func killSandbox(t *testing.T, id string) (killed int) {
	t.Helper()
	if id == "" {
		t.Fatal("session without a sandbox")
	}
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		line, _ := os.ReadFile(path) // it may have ended
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && strings.Contains(string(line), id) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// TestFiveHundredSessionsLeaveNothing starts and ends sessions in every way.
// What they took is given back while the server goes on, but for the ids it
// remembers.
func TestFiveHundredSessionsLeaveNothing(t *testing.T) {
	const perWay = 70
	b := newBed(t, "gvisor")
	arn := b.deploy("agents/crowd")
	variant := func(name, more string) string {
		folder := t.TempDir()
		for _, file := range []string{"main.go", "go.mod"} {
			copyFile(t, "agents/crowd/"+file, filepath.Join(folder, file))
		}
		writeFile(t, folder+"/isolde.yaml", "name: "+name+"\nlanguage: go\nentrypoint: main.go\nresources: {memory: 128Mi}\n"+more)
		return b.deploy(folder)
	}
	broken := variant("broken", "environment: {FAIL_AT_START: yes}\n")
	brief := variant("brief", "lifecycle: {idleTimeout: 60}\n")
	slow := variant("slow", "environment: {START_AFTER: 1s}\n")

	b.echo(arn, sessionNumber(0), `{}`) // what the first session makes for all is there
	if _, err := b.client.StopSessions(t.Context(), operator.SessionFilter{}); err != nil {
		t.Fatal(err)
	}
	left := sandboxtest.Watch(filepath.Join(b.data, "sandboxes"))
	descriptors := b.descriptors()
	next := 1
	sessions := func(do func(id isolde.SessionID)) {
		each(next, next+perWay, func(n int) { do(sessionNumber(n)) })
		next += perWay
	}
	sandboxOf := func(id isolde.SessionID) string {
		s, err := b.client.Session(t.Context(), "crowd", id)
		if err != nil {
			t.Error(err)
		}
		left.Own(sandbox.ID(s.Sandbox))
		return s.Sandbox
	}

	idle := next
	sessions(func(id isolde.SessionID) { b.echo(brief, id, `{}`) })
	sessions(func(id isolde.SessionID) { // ends by its caller
		b.echo(arn, id, `{}`)
		sandboxOf(id)
		if status := b.stopSession(arn, id); status != 200 {
			t.Errorf("stop: %d", status)
		}
	})
	sessions(func(id isolde.SessionID) { // its agent crashes in a call
		if resp, body := b.call(arn, id, strings.NewReader(`{"exit":true}`)); resp.StatusCode != 424 {
			t.Errorf("an agent that exits: %s: %s", resp.Status, body)
		}
	})
	sessions(func(id isolde.SessionID) { // is killed from outside
		b.echo(arn, id, `{}`)
		if killSandbox(t, sandboxOf(id)) == 0 {
			t.Error("no process to kill")
		}
	})
	sessions(func(id isolde.SessionID) { // does not start
		if resp, body := b.call(broken, id, strings.NewReader(`{}`)); resp.StatusCode != 424 {
			t.Errorf("an agent that cannot start: %s: %s", resp.Status, body)
		}
	})
	sessions(func(id isolde.SessionID) { // its caller goes away while it starts, and another stops it
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if resp, err := b.request(ctx, slow, id, strings.NewReader(`{}`)); err == nil {
			resp.Body.Close()
		}
		b.stopSession(slow, id)
	})
	running := next
	sessions(func(id isolde.SessionID) { b.echo(arn, id, `{}`) })
	b.stop(syscall.SIGKILL)
	b.start()
	each(running, running+perWay, func(n int) { // outlived its server
		if n%2 == 0 {
			b.echo(arn, sessionNumber(n), `{}`)
		}
		if status := b.stopSession(arn, sessionNumber(n)); status != 200 {
			t.Errorf("stop after the server's death: %d", status)
		}
	})
	for n := idle; n < idle+perWay; n++ {
		b.await(func() error {
			s, err := b.client.Session(t.Context(), "brief", sessionNumber(n))
			if err == nil && s.State != isolde.SessionStopped {
				err = fmt.Errorf("session %s is %s", s.ID, s.State)
			}
			return err
		})
	}

	b.await(func() error {
		if states, _ := b.states(""); states[isolde.SessionStopped] != next || len(states) != 1 {
			return fmt.Errorf("of %d sessions: %v", next, states)
		}
		return nil
	})
	left.Check(t)
	b.await(func() error {
		if now := b.descriptors(); now > descriptors+10 { // connections of the test itself
			return fmt.Errorf("the server had %d files open and has %d", descriptors, now)
		}
		return nil
	})
}

// descriptors counts the server's open files.
func (b *bed) descriptors() int {
	b.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.server.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	return len(all)
}

// stopSession calls StopRuntimeSession and returns its status.
func (b *bed) stopSession(arn string, id isolde.SessionID) int {
	b.t.Helper()
	resp, err := b.post(b.t.Context(), arn, "stopruntimesession", id, nil)
	if err != nil {
		b.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || !json.Valid(answer) {
		b.t.Errorf("stop answered %q, %v", answer, err)
	}
	return resp.StatusCode
}
