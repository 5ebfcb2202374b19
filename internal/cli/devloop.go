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
	told     sync.Map           // when a session's output last had a line of the server's, by its id
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
			return func() {}
		}
	default:
		first := l.deployed == nil
		l.deployed = &result
		if first {
			l.ready(result)
		} else if result.Changed {
			l.term.printf("%s version %s is live (%s)", result.Name, result.Version, seconds(time.Since(begun)))
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	current := *l.deployed
	wg.Go(func() { l.retire(ctx, current) })
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
		sessions, err := l.client.Sessions(ctx, operator.SessionFilter{Agent: string(current.ID)})
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

// serverLine begins the lines that the server adds to an agent's output: its
// errors and its end.
const serverLine = "isolde: "

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
		prefix, text := "", readable(line.Line)
		if len(speakers) > 1 {
			prefix = l.term.dim(shortSession(line.Session)+" |") + " "
		}
		if strings.HasPrefix(text, serverLine) {
			l.told.Store(line.Session, time.Now())
			text = l.term.paint("33", text)
		}
		l.term.printf("%s%s", prefix, strings.ReplaceAll(text, "\n", "\n"+prefix))
	}
}

// followErrors shows what the agent did wrong where its output did not tell:
// a session that ended at once may be gone before its log is followed.
func (l *devLoop) followErrors(ctx context.Context) {
	known := make(map[isolde.SessionID]time.Time) // of the last error, shown or told
	since := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sessions, err := l.client.Sessions(ctx, operator.SessionFilter{Ended: true})
		if err != nil {
			continue
		}
		for _, s := range sessions {
			e := s.LastError
			if e == nil || e.Time.Before(since) || !e.Time.After(known[s.ID]) || time.Since(e.Time) < pollEvery {
				continue // the last, so that the log has its chance
			}
			known[s.ID] = e.Time
			if told, ok := l.told.Load(s.ID); ok && told.(time.Time).After(e.Time.Add(-pollEvery)) {
				continue
			}
			l.term.printf("%s\n%s", l.term.paint("31", "error in session "+shortSession(s.ID)+":"), indent(lastLines(e.Message, 20)))
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
