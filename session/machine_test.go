package session

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// TestMachineAgainstItsModel does to sessions whatever callers, agents and
// servers may do, in any order, and wants them to be what the model says after
// every step, each caller to hear what it says, and nothing to be left.
func TestMachineAgainstItsModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := scenario{
			Busy:  isolde.Seconds(rapid.SampledFrom([]int{0, 100}).Draw(r, "busy timeout")),
			Steps: rapid.SliceOfN(rapid.Custom(drawStep), steps, steps).Draw(r, "steps"),
		}
		var failure string
		// What is drawn is drawn outside: rapid must not end a goroutine of the bubble.
		synctest.Test(t, func(t *testing.T) { failure = s.run(t) })
		if failure != "" {
			r.Fatal(failure)
		}
	})
}

type scenario struct {
	Busy  isolde.Seconds
	Steps []step
}

// step is one thing that happens, some time after the last.
type step struct {
	What     string
	Key      int
	After    time.Duration // a multiple of 10 ms
	Takes    time.Duration // of an invocation, a multiple of 10 ms; of a server's absence
	Mood     mood
	Start    startMode
	Stubborn bool
}

const (
	modelKeys = 2
	steps     = 60 // rapid's own choice is too short for what takes a few steps in a row; it shrinks them to waits
)

func drawStep(r *rapid.T) step {
	pause := rapid.SampledFrom([]time.Duration{0, 10 * time.Millisecond, 2 * time.Second, 3 * time.Second, 20 * time.Second, 62 * time.Second})
	return step{
		What:     rapid.SampledFrom([]string{"wait", "invoke", "invoke", "invoke", "stream", "stop", "mood", "mood", "mood", "mood", "start", "exit", "crash", "restart"}).Draw(r, "what"),
		Key:      rapid.IntRange(0, modelKeys-1).Draw(r, "key"),
		After:    pause.Draw(r, "after"),
		Takes:    pause.Draw(r, "takes"),
		Mood:     mood(rapid.IntRange(0, int(moods)-1).Draw(r, "mood")),
		Stubborn: rapid.Bool().Draw(r, "stubborn"),
		Start:    startMode(rapid.IntRange(0, int(startModes)-1).Draw(r, "start")),
	}
}

// String is for a failure's report.
func (s step) String() string {
	return fmt.Sprintf("%-7s key %d after %v takes %v mood %d start %d, stubborn %v", s.What, s.Key, s.After, s.Takes, s.Mood, s.Start, s.Stubborn)
}

// machine is the real thing beside its model.
//
// Two things that happen in the same instant may happen in any order, so none
// do: step i is at a multiple of 10 ms and i µs; a start ends 1 ms after such a
// time, as do pings then; an invocation ends 3 ms after the time it is let in;
// a server opens 5 ms after its step.
type machine struct {
	*bed
	model model
	keys  []isolde.SessionKey
	store *frozenStore
	start step // how sandboxes start from now on
	all   []*request
	stops []*stopped

	mu     sync.Mutex
	agents map[isolde.SessionKey]*moodyAgent // the last of each session
}

// frozenStore forgets what is written after the server's death.
type frozenStore struct {
	*memoryStore
	dead atomic.Bool
}

func (s *frozenStore) PutSession(ctx context.Context, r isolde.Session) error {
	if s.dead.Load() {
		return nil
	}
	return s.memoryStore.PutSession(ctx, r)
}

// moodyAgent answers pings as it is told, and invocations, whose body is a
// duration, after that time; with a + before it in parts, as it goes on.
type moodyAgent struct{ mood atomic.Int32 }

func (a *moodyAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		switch mood(a.mood.Load()) {
		case healthy:
			_, _ = io.WriteString(w, `{"status":"Healthy"}`)
		case busy:
			_, _ = io.WriteString(w, `{"status":"HealthyBusy"}`)
		case unhealthy:
			w.WriteHeader(http.StatusServiceUnavailable)
		case silent:
			<-r.Context().Done()
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	text, stream := strings.CutPrefix(string(body), "+")
	left, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	for left > 0 {
		part := left
		if stream {
			part = min(left, 7*time.Second)
			_, _ = w.Write([]byte("part\n"))
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-time.After(part):
		case <-r.Context().Done():
			return
		}
		left -= part
	}
}

func (s scenario) run(t *testing.T) (failure string) {
	m := &machine{store: &frozenStore{memoryStore: &memoryStore{}}, agents: make(map[isolde.SessionKey]*moodyAgent)}
	for i := range modelKeys {
		m.keys = append(m.keys, numbered(i))
	}
	m.bed = newBed(t, sandboxtest.Script{})
	m.m.Close()
	m.cfg.Store = m.store
	m.fake.Script = m.script
	m.launch.Lifecycle = isolde.Lifecycle{IdleTimeout: 60, MaxLifetime: 300}
	m.launch.Limits.BusyTimeout = s.Busy
	m.open()
	m.model = model{
		idle: time.Minute, lifetime: 5 * time.Minute, busyTimeout: s.Busy.Duration(),
		now: time.Now(), sessions: make(map[isolde.SessionKey]*modelSession),
	}
	for i, step := range s.Steps {
		m.sleep(step.After + time.Microsecond)
		m.do(step)
		if why := m.compare(); why != "" {
			var story strings.Builder
			for _, s := range s.Steps[:i+1] {
				if s.What != "wait" || s.After > 0 {
					fmt.Fprintln(&story, " ", s)
				}
			}
			return fmt.Sprintf("%s\nafter:\n%s", why, &story)
		}
	}
	m.sleep(10 * time.Minute) // longer than any session lives
	if why := m.compare(); why != "" {
		return why + "\nat the end"
	}
	return m.leftovers()
}

func (m *machine) script(spec sandbox.Spec) sandboxtest.Script {
	key := isolde.SessionKey{Runtime: isolde.RuntimeID(spec.Labels[labelRuntime]), Session: isolde.SessionID(spec.Labels[labelSession])}
	a := &moodyAgent{}
	m.mu.Lock()
	m.agents[key] = a
	m.mu.Unlock()
	script := sandboxtest.Script{Agent: a, OwnPing: true, StartDelay: startDelay, IgnoreTerm: m.start.Stubborn}
	switch m.start.Start {
	case startsSlowly:
		script.StartDelay = slowDelay
	case startFails:
		script.StartError = isolde.Errorf(isolde.CodeQuota, "no room")
	case startExits:
		script.StartDelay, script.HealthyAfter, script.ExitAfter, script.ExitCode = 0, time.Hour, exitDelay, 3
	}
	return script
}

func (m *machine) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	m.model.advance(time.Now())
}

func (m *machine) do(s step) {
	key := m.keys[s.Key]
	switch s.What {
	case "invoke", "stream":
		m.send(s, key)
	case "stop":
		m.stop(key)
	case "mood":
		if ms := m.model.sessions[key]; ms != nil && ms.runs() {
			ms.mood = s.Mood
			m.agents[key].mood.Store(int32(s.Mood))
		}
	case "start":
		m.start, m.model.start, m.model.stubborn = s, s.Start, s.Stubborn
	case "exit":
		if ms := m.model.sessions[key]; ms != nil && ms.begins.IsZero() {
			m.model.exit(key, ms)
			m.sandboxOf(key).ExitWith(7)
		}
	case "crash":
		m.store.dead.Store(true)
		m.restart(s, true)
	case "restart":
		m.model.draining = true
		ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
		err := m.m.Drain(ctx)
		cancel()
		synctest.Wait()
		m.model.advance(time.Now())
		if undone := m.pending(); (err == nil) != (undone == 0) {
			m.t.Errorf("drain = %v with %d requests under way", err, undone)
		}
		m.restart(s, false)
	}
	synctest.Wait()
}

func (m *machine) send(s step, key isolde.SessionKey) {
	r := &request{key: key, takes: s.Takes + 3*time.Millisecond, got: make(chan outcome, 1)}
	m.all = append(m.all, r)
	m.model.invoke(r)
	body := r.takes.String()
	if s.What == "stream" {
		body = "+" + body
	}
	manager := m.m
	go func() {
		l, err := manager.Acquire(context.WithoutCancel(m.t.Context()), key, m.launch)
		if err == nil {
			_, err = roundTrip(context.WithoutCancel(m.t.Context()), l, body)
			l.Release()
		}
		if err != nil {
			r.got <- outcome{isolde.CodeOf(err), err.Error()}
			return
		}
		r.got <- served
	}()
}

// stopped is a call of Stop.
type stopped struct {
	found bool
	got   chan error
}

// stop asks for a session's end. The call returns when its sandbox is gone,
// but for a stubborn one that is after the next steps.
func (m *machine) stop(key isolde.SessionKey) {
	manager, s := m.m, &stopped{m.model.stop(key), make(chan error, 1)}
	m.stops = append(m.stops, s)
	go func() { s.got <- manager.Stop(context.Background(), key, isolde.EndOperator, "was stopped by a test") }()
}

// restart ends the server and begins the next one on its sandboxes.
func (m *machine) restart(s step, killed bool) {
	m.m.Close()
	m.model.lose(killed)
	time.Sleep(s.Takes + 5*time.Millisecond)
	m.store.dead.Store(false)
	m.model.now = time.Now() // nothing happens without a server
	m.model.draining = false
	m.model.find()
	m.open()
	time.Sleep(5 * time.Millisecond)
	synctest.Wait()
	m.model.advance(time.Now())
}

// pending counts the requests whose callers have not heard yet.
func (m *machine) pending() (n int) {
	for _, s := range m.model.sessions {
		n += len(s.inside) + len(s.waiting)
	}
	return n
}

func (m *machine) sandboxOf(key isolde.SessionKey) *sandboxtest.FakeSandbox {
	for _, box := range m.fake.Sandboxes() {
		if box.Spec.Labels[labelSession] == string(key.Session) {
			return box
		}
	}
	return nil
}

// compare says how the machine differs from the model, if it does.
func (m *machine) compare() string {
	got := m.m.Sessions()
	slices.SortFunc(got, byAge)
	var want []isolde.Session
	for i, key := range m.keys {
		if s := m.model.sessions[key]; s != nil {
			if j := slices.IndexFunc(got, func(g isolde.Session) bool { return g.Key() == key }); s.uncounted && j >= 0 {
				s.requests = got[j].Requests
			}
			want = append(want, isolde.Session{
				ID: m.keys[i].Session, State: s.state(), StartedAt: s.started, LastUsedAt: s.used, LastActiveAt: s.lastActive(),
				Requests: s.requests, InFlight: len(s.inside), Busy: s.saysBusy,
			})
		}
	}
	text := func(list []isolde.Session) string {
		var out strings.Builder
		for _, s := range list {
			fmt.Fprintf(&out, "  %s %s started %s, used %s, active %s, %d requests, %d in flight, busy %v\n", s.ID, s.State, s.StartedAt.Format(stamp),
				s.LastUsedAt.Format(stamp), s.LastActiveAt.Format(stamp), s.Requests, s.InFlight, s.Busy)
		}
		return out.String()
	}
	if text(got) != text(want) {
		return fmt.Sprintf("at %s sessions are\n%swant\n%s", time.Now().Format(stamp), text(got), text(want))
	}
	if n := m.fake.Live(); n != m.model.sandboxes() {
		return fmt.Sprintf("%d sandboxes live, want %d", n, m.model.sandboxes())
	}
	for _, r := range m.all {
		if why := r.compare(); why != "" {
			return why
		}
	}
	m.all = slices.DeleteFunc(m.all, func(r *request) bool { return r.want == served })
	return ""
}

const stamp = "04:05.000000"

// compare says whether a caller heard what it must, as soon as it must.
func (r *request) compare() string {
	select {
	case got := <-r.got:
		r.got <- got
		if r.want == cut && got != served {
			return ""
		}
		if r.want.code != got.code || !strings.Contains(got.reason, r.want.reason) {
			return fmt.Sprintf("a caller of %s heard %+v, want %+v", r.key.Session, got, r.want)
		}
	default:
		if r.want.code != "" && r.want != cut {
			return fmt.Sprintf("a caller of %s hears nothing, want %+v", r.key.Session, r.want)
		}
	}
	return ""
}

// leftovers says what is left when all sessions are over.
func (m *machine) leftovers() string {
	for _, s := range m.stops {
		if err := <-s.got; s.found != (err == nil) && isolde.CodeOf(err) != isolde.CodeUnavailable {
			return fmt.Sprintf("stop = %v; there was a session: %v", err, s.found)
		}
	}
	if n := len(m.m.Sessions()); n > 0 {
		return fmt.Sprintf("%d sessions live for ever", n)
	}
	if load := m.m.Load(); load.Sessions != 0 || load.MemoryPromised != 0 || len(m.m.agents) != 0 {
		return fmt.Sprintf("the books are not even: %+v, %d agents", load, len(m.m.agents))
	}
	records, _ := m.store.Sessions(context.Background(), "", false, 0)
	if len(records) > 0 {
		return fmt.Sprintf("recorded as running: %+v", records)
	}
	return ""
}
