package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
)

// screen is a terminal's text, to be waited for.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the screen shows the text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the terminal never showed %q:\n%s", text, s)
		}
	}
}

const (
	idleSession  = isolde.SessionID("11111111-idle-session-of-the-old-code")
	busySession  = isolde.SessionID("22222222-busy-session-of-the-old-code")
	otherSession = isolde.SessionID("33333333-session-of-the-newest-version")
)

func TestDevLoop(t *testing.T) {
	s := newFakeServer()
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "fresh")
	write(t, "1", dir, "agent.py")
	out := &screen{}
	w, err := openWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	a := newApp(nil, nil, out, environment(t, s))
	defer a.http.CloseIdleConnections()
	loop := &devLoop{
		term: a.err, folder: dir, client: &operator.Client{URL: s.URL, HTTP: a.http},
		load: func() (operator.Deployment, error) {
			d, _, err := project.LoadOrDetect(dir, a.getenv)
			return d, err
		},
		ready: func(d operator.Deployed) { a.err.printf("ready %s %s", d.Name, d.Version) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { loop.run(ctx, w) })
	defer func() {
		cancel()
		wg.Wait()
	}()
	out.await(t, "installing 34 packages")
	out.await(t, "ready fresh 1")

	// A change is deployed. Sessions of the old code end when they are idle.
	agent := fakeAgent("fresh", 1)
	s.put(agent, idleSession, func(*operator.Session) {})
	s.put(agent, busySession, func(x *operator.Session) { x.State = isolde.SessionActive })
	write(t, "2", dir, "agent.py")
	out.await(t, "fresh version 2 is live")
	out.await(t, "stopped 1 idle session of the old code; the next call begins with the new")
	out.await(t, "waiting for 1 busy session of the old code to be done")
	if got := s.state(busySession); got != isolde.SessionActive {
		t.Errorf("the busy session is %s", got)
	}
	s.put(agent, busySession, func(*operator.Session) {})
	for s.state(busySession) != isolde.SessionStopped {
		time.Sleep(5 * time.Millisecond)
	}

	// A build that fails leaves the old version.
	write(t, "", dir, "broken")
	out.await(t, "error: requirements.txt: no package \"nonesuch\"\nhint: check its name on PyPI\nversion 2 goes on; save to try again")
	write(t, "nam: x", dir, project.File)
	out.await(t, `isolde.yaml:1:1: unknown key "nam" in the file`)
	if err := os.Remove(filepath.Join(dir, project.File)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "broken")); err != nil {
		t.Fatal(err)
	}
	out.await(t, "fresh version 3 is live")

	// Output appears, with the session as soon as there are two.
	s.follow <- operator.LogLine{Session: idleSession, Line: "Traceback (most recent call last):"}
	out.await(t, "\nTraceback (most recent call last):\n")
	s.follow <- operator.LogLine{Session: otherSession, Line: "hello"}
	out.await(t, "\n33333333 | hello\n")

	// So do errors that callers are not told, once.
	s.follow <- operator.LogLine{Session: idleSession, Line: "isolde: request 1: the agent answered 500: told"}
	out.await(t, "11111111 | isolde: request 1")
	s.put(agent, idleSession, func(x *operator.Session) {
		x.LastError = &isolde.AgentError{Time: time.Now(), Request: "1", Message: "the agent answered 500: told"}
	})
	agent.Latest = 3
	s.put(agent, otherSession, func(x *operator.Session) {
		x.LastError = &isolde.AgentError{Time: time.Now(), Status: 500, Message: `the agent answered 500: {"error":"boom"}`}
	})
	out.await(t, "error in session 33333333:\n  the agent answered 500: {\"error\":\"boom\"}\n")
	if n := strings.Count(out.String(), "the agent answered 500: told"); n != 1 {
		t.Errorf("an error was shown %d times", n)
	}
}

func TestDevDataDir(t *testing.T) {
	env := func(name string) string { return map[string]string{"HOME": "/home/ann"}[name] }
	a, err := devDataDir(env, "/src/a/my-agent")
	if err != nil {
		t.Fatal(err)
	}
	b, err := devDataDir(env, "/src/b/my-agent")
	if err != nil {
		t.Fatal(err)
	}
	if a == b || !strings.HasPrefix(a, "/home/ann/.cache/isolde/dev/my_agent-") {
		t.Errorf("%s and %s", a, b)
	}
	if _, err := devDataDir(func(string) string { return "" }, "/src/a"); isolde.CodeOf(err) != isolde.CodeNotConfigured {
		t.Errorf("without a home: %v", err)
	}
}
