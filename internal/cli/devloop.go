package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/operator"
)

// devLoop is what isolde dev does beside the server: it deploys the folder,
// again after each change, ends sessions of old code and shows what the agent
// says. It needs no more of the server than the operator API.
type devLoop struct {
	term   *terminal
	client *operator.Client
	folder string
	load   func() (operator.Deployment, error)
	ready  func(operator.Deployed) // called after the first deployment

	deployed *operator.Deployed // nil until one succeeded
}

// pollEvery is how often the sessions are looked at, for errors of the agent
// and for sessions of old code that became idle.
const pollEvery = 500 * time.Millisecond

// run goes on until ctx ends.
func (l *devLoop) run(ctx context.Context, w *watcher) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.followLogs(ctx) })
	wg.Go(func() { l.followErrors(ctx) })
	retiring := l.deploy(ctx)
	defer func() { retiring() }()
	w.run(ctx, func() {
		retiring()
		retiring = l.deploy(ctx)
	}, l.term.error)
}

// deploy deploys the folder. A failure is shown and the old version stays.
// The function it returns ends what it still does in the background.
func (l *devLoop) deploy(ctx context.Context) (end func()) {
	begun := time.Now()
	result, err := l.upload(ctx)
	switch {
	case ctx.Err() != nil:
		return func() {}
	case err != nil:
		l.term.error(err)
		if l.deployed != nil {
			l.term.printf("version %s goes on; save to try again", l.deployed.Version)
		} else {
			l.term.printf("nothing runs yet; save to try again")
		}
		return func() {}
	}
	old := l.deployed
	l.deployed = &result
	switch {
	case old == nil:
		l.ready(result)
	case !result.Changed:
		return func() {}
	default:
		l.term.printf("%s version %s is live (%s)", result.Name, result.Version, seconds(time.Since(begun)))
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.retire(ctx, result) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func (l *devLoop) upload(ctx context.Context) (operator.Deployed, error) {
	d, err := l.load()
	if err != nil {
		return operator.Deployed{}, err
	}
	p := newProgress(l.term)
	show := p.step
	if l.deployed != nil { // only what takes time is worth a line
		show = func(s image.Progress) {
			if !s.Cached && s.Stage == "dependencies" {
				p.step(s)
			}
		}
	}
	result, err := l.client.Deploy(ctx, d, l.folder, show)
	if err == nil {
		p.finish()
	}
	return result, err
}

// retire stops the sessions of versions before the one deployed, each as soon
// as it is idle, until there are none.
func (l *devLoop) retire(ctx context.Context, current operator.Deployed) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for told := false; ; {
		sessions, err := l.client.Sessions(ctx, string(current.ID), false)
		if err != nil {
			return
		}
		stopped, busy := 0, 0
		for _, s := range sessions {
			switch {
			case s.Version == current.Version || s.State == isolde.SessionStopped || s.State == isolde.SessionStopping:
			case s.State != isolde.SessionIdle || s.InFlight > 0:
				busy++
			default:
				if _, err := l.client.StopSession(ctx, string(current.ID), s.ID); err == nil {
					stopped++
				}
			}
		}
		if stopped > 0 {
			l.term.printf("stopped %s of the old code; the next call begins with the new", count(stopped, "idle session"))
		}
		if busy == 0 {
			return
		}
		if !told {
			l.term.printf("waiting for %s of the old code to be done", count(busy, "busy session"))
			told = true
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// count is "1 session" or "2 sessions".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// followLogs shows the agent's output as it comes.
func (l *devLoop) followLogs(ctx context.Context) {
	speakers := make(map[isolde.SessionID]bool)
	for line, err := range l.client.Logs(ctx, operator.LogOptions{Follow: true, New: true}) {
		if err != nil {
			if ctx.Err() == nil {
				l.term.warn("the agent's output cannot be followed: "+err.Error(), "see: isolde logs -f")
			}
			return
		}
		speakers[line.Session] = true
		prefix := ""
		if len(speakers) > 1 {
			prefix = l.term.dim(shortSession(line.Session)+" |") + " "
		}
		l.term.printf("%s%s", prefix, line.Line)
	}
}

// followErrors shows what the agent did wrong, which its callers are not told.
func (l *devLoop) followErrors(ctx context.Context) {
	shown := make(map[isolde.SessionID]time.Time)
	since := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sessions, err := l.client.Sessions(ctx, "", true)
		if err != nil {
			continue
		}
		for _, s := range sessions {
			e := s.LastError
			if e == nil || e.Time.Before(since) || !e.Time.After(shown[s.ID]) {
				continue
			}
			shown[s.ID] = e.Time
			l.term.printf("%s\n%s", l.term.paint("31", "session "+shortSession(s.ID)+": "+agentErrorTitle(*e)), indent(lastLines(e.Message, 20)))
		}
	}
}

// lastLines is the end of a text, at most n lines.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-n)}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}
